"""Jobs of a running backend on several GPU hosts, over real sockets."""

import io
import logging
import threading
import time

import av
import pytest
import requests

from backend.gpu import host as host_module
from backend.routes import generate
from contracts.errors import EngineError
from contracts.hosts import GpuHostView
from contracts.jobs import JobState, JobView
from lipsync_client.client import LipSync
from tests.fakes.gpu_host import gpu_host
from tests.fakes.plain_host import plain_host
from tests.fakes.running_backend import running_backend
from tests.fakes.scripted_server import answer, scripted
from tests.fakes.uploads import photo, tone

TOKEN = "canary-77aa"
NOBODY = "http://127.0.0.1:9"
PATIENCE_SECONDS = 30


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch):
    monkeypatch.setattr(host_module, "FIRST_PAUSE_SECONDS", 0.05)
    monkeypatch.setattr(host_module, "MAX_PAUSE_SECONDS", 0.2)
    monkeypatch.setattr(generate, "PATIENCE_SECONDS", 0.0)


@pytest.fixture
def backend(tmp_path):
    """Starts a backend whose settings name no GPU host unless told otherwise."""
    opened = []

    def start(gpu_url="", **settings):
        manager = running_backend(tmp_path, gpu_url, gpu_timeout_seconds=0.5, **settings)
        opened.append(manager)
        return manager.__enter__()

    yield start
    for manager in opened:
        manager.__exit__(None, None, None)


def until(condition):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.01)


def send(url, prefer="respond-async", **fields):
    form = {"image": photo(), "audio": tone(0.3)}
    headers = {"Prefer": prefer}
    return requests.post(
        url + "/generate-from-audio", files=form, data=fields, headers=headers, timeout=60
    )


def submit(url, **fields):
    return send(url, **fields).json()["id"]


def add(url, host, **fields):
    answer = requests.post(url + "/gpu-hosts", json={"url": host.url, **fields}, timeout=60)
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


def job(url, job_id):
    return JobView.model_validate_json(requests.get(f"{url}/jobs/{job_id}", timeout=60).content)


def hosts(url):
    answer = requests.get(url + "/gpu-hosts", timeout=60).json()
    return [GpuHostView.model_validate(host) for host in answer]


def test_a_job_waits_with_the_reason_until_a_host_appears(backend):
    url = backend()
    job_id = submit(url)
    until(lambda: job(url, job_id).reason == "there is no GPU host")
    assert job(url, job_id).state is JobState.QUEUED
    with gpu_host(token=TOKEN) as host:
        add(url, host, token=TOKEN, name="Colab")
        view = LipSync(url).wait(job_id, PATIENCE_SECONDS)
        assert (view.gpu_host, view.reason, view.attempts) == ("Colab", "", ())


def test_one_who_waits_is_told_that_no_host_answers_and_where_the_job_goes_on(backend):
    url = backend(NOBODY)
    answer = send(url, prefer="")
    assert (answer.status_code, answer.json()["code"]) == (503, "GPU_UNREACHABLE")
    assert answer.headers["Retry-After"]
    where = answer.headers["Location"]
    assert where in answer.json()["hint"]
    assert job(url, where.removeprefix("/jobs/")).state is JobState.QUEUED
    with gpu_host() as host:
        add(url, host)
        LipSync(url).wait(where.removeprefix("/jobs/"), PATIENCE_SECONDS)


def test_a_wrong_token_is_the_hosts_error_and_fails_no_job(backend, caplog):
    caplog.set_level(logging.DEBUG)
    with gpu_host(token=TOKEN) as host:
        url = backend(host.url, gpu_token="canary-wrong")
        job_id = submit(url)
        until(lambda: "refuses the token" in job(url, job_id).reason)
        (view,) = hosts(url)
        assert (view.fixed, view.error.code) == (True, "GPU_REFUSED")
        host.token = "canary-wrong"
        assert LipSync(url).wait(job_id, PATIENCE_SECONDS).attempts == ()
    assert "canary" not in caplog.text
    assert "canary" not in view.model_dump_json()


def test_jobs_pass_a_host_that_does_not_answer(backend):
    with gpu_host() as host:
        url = backend(NOBODY)
        add(url, host)
        view = LipSync(url).wait(submit(url), PATIENCE_SECONDS)
        assert view.gpu_host == host.url.removeprefix("http://")


def test_jobs_share_the_hosts(backend):
    gate = threading.Event()
    with gpu_host(gate=gate) as one, gpu_host(gate=gate) as two:
        url = backend(one.url)
        add(url, two)
        job_ids = [submit(url) for _ in range(3)]
        assert one.began.wait(PATIENCE_SECONDS)
        assert two.began.wait(PATIENCE_SECONDS)
        assert [view.running for view in hosts(url)] == [1, 1]
        waiting = job(url, job_ids[2])
        assert (waiting.state, waiting.reason) == (JobState.QUEUED, "")
        gate.set()
        for job_id in job_ids:
            LipSync(url).wait(job_id, PATIENCE_SECONDS)
    assert len(one.rendered) + len(two.rendered) == 3


def test_a_job_moves_on_when_its_host_dies_for_good_and_nothing_is_counted(backend):
    with gpu_host() as two:
        with gpu_host(gate=threading.Event(), gate_after=6) as one:
            url = backend(one.url)
            job_id = submit(url)
            assert one.began.wait(PATIENCE_SECONDS)
            until(lambda: job(url, job_id).media_seconds > 0)
            assert job(url, job_id).stream == 1
        add(url, two)
        view = LipSync(url).wait(job_id, PATIENCE_SECONDS)
    assert (view.attempts, view.stream) == ((), 2)
    assert view.gpu_host == two.url.removeprefix("http://")


def test_a_host_that_is_restarted_in_mid_render_is_counted_and_renders_again(backend):
    with gpu_host(gate=threading.Event(), gate_after=6) as host:
        url = backend(host.url)
        job_id = submit(url)
        assert host.began.wait(PATIENCE_SECONDS)
        until(lambda: job(url, job_id).media_seconds > 0)
        host.restart()
        host.gate.set()
        view = LipSync(url).wait(job_id, PATIENCE_SECONDS)
    assert [attempt.error.code for attempt in view.attempts] == ["GPU_HOST_DIED"]
    assert view.stream == 2


def test_a_connection_that_breaks_costs_nothing(backend):
    with gpu_host(cuts=[3000, 3000, 3000]) as host:
        url = backend(host.url)
        view = LipSync(url).wait(submit(url), PATIENCE_SECONDS)
    assert (view.attempts, view.stream) == ((), 1)
    assert len(host.rendered) == 1
    assert sum(each.startswith("GET") for each in host.asked) == 3


def test_an_engine_that_fails_three_times_fails_the_job(backend):
    with gpu_host(fail_within=EngineError("out of memory")) as host:
        url = backend(host.url)
        job_id = submit(url)
        until(lambda: job(url, job_id).state is JobState.FAILED)
        assert len(host.rendered) == 3
        assert len(job(url, job_id).attempts) == 3
        host.fail_within = None
        assert requests.post(f"{url}/jobs/{job_id}/retry", timeout=60).status_code == 202
        LipSync(url).wait(job_id, PATIENCE_SECONDS)


def test_ten_of_ten_running_jobs_are_cancelled_and_the_host_is_idle(backend):
    with gpu_host(gate=threading.Event(), gate_after=6) as host:
        url = backend(host.url)
        for number in range(10):
            host.began.clear()
            job_id = submit(url)
            assert host.began.wait(PATIENCE_SECONDS)
            until(lambda job_id=job_id: job(url, job_id).media_seconds > 0)
            answer = requests.post(f"{url}/jobs/{job_id}/cancel", timeout=60)
            assert (answer.status_code, answer.json()["state"]) == (200, "cancelled")
            until(lambda job_id=job_id: f"DELETE {job_id}" in host.asked)
            until(lambda: hosts(url)[0].running == 0)
            assert len(host.rendered) == number + 1
        assert host._renders == {}
        states = {view.state for view in LipSync(url).jobs(limit=20).jobs}
        assert states == {JobState.CANCELLED}


def test_a_job_that_was_cancelled_can_be_made_after_all(backend):
    with gpu_host(gate=threading.Event(), gate_after=6) as host:
        url = backend(host.url)
        job_id = submit(url)
        assert host.began.wait(PATIENCE_SECONDS)
        requests.post(f"{url}/jobs/{job_id}/cancel", timeout=60)
        host.gate.set()
        requests.post(f"{url}/jobs/{job_id}/retry", timeout=60)
        view = LipSync(url).wait(job_id, PATIENCE_SECONDS)
    assert (view.state, view.attempts) == (JobState.SUCCEEDED, ())


def test_who_waits_for_a_job_that_is_cancelled_is_told(backend):
    with gpu_host(gate=threading.Event()) as host:
        url = backend(host.url)
        answers = []
        caller = threading.Thread(target=lambda: answers.append(send(url, prefer="")))
        caller.start()
        assert host.began.wait(PATIENCE_SECONDS)
        job_id = host.headers[0]["Idempotency-Key"]
        requests.post(f"{url}/jobs/{job_id}/cancel", timeout=60)
        caller.join()
    assert (answers[0].status_code, answers[0].json()["code"]) == (499, "CANCELLED")
    assert answers[0].headers["X-Job-Id"] == job_id


def test_a_plain_hosts_video_comes_out_of_the_same_road(backend):
    with plain_host() as host:
        url = backend()
        view = add(url, host, name="Seed")
        (shown,) = hosts(url)
        assert (shown.id, shown.kind, shown.healthy) == (view, "plain", True)
        job_id = submit(url, max_height="360", engine="wav2lip")
        done = LipSync(url).wait(job_id, PATIENCE_SECONDS)
        assert (done.gpu_host, done.engine) == ("Seed", "wav2lip")
        assert done.report.ignored == ("max_height",)
        assert done.media_seconds == pytest.approx(5.0, abs=0.05)
        video = requests.get(f"{url}/jobs/{job_id}/video", timeout=60).content
        stream = requests.get(f"{url}/jobs/{job_id}/stream", timeout=60)
        poster = requests.get(f"{url}/jobs/{job_id}/poster", timeout=60).content
    assert num_frames(video) == num_frames(stream.content) == 125
    assert stream.headers["Content-Type"].startswith('video/mp4; codecs="avc1.')
    assert poster.startswith(b"\xff\xd8")
    with av.open(io.BytesIO(video)) as container:
        assert "AI-generated by wav2lip" in container.metadata["comment"]


def num_frames(video):
    with av.open(io.BytesIO(video)) as container:
        return sum(1 for _ in container.decode(video=0))


def test_auto_goes_to_a_plain_host_only_where_no_other_is_free(backend):
    gate = threading.Event()
    with gpu_host(gate=gate) as ours, plain_host() as plain:
        url = backend(ours.url)
        add(url, plain, name="Seed")
        first = submit(url)
        assert ours.began.wait(PATIENCE_SECONDS)
        second = LipSync(url).wait(submit(url), PATIENCE_SECONDS)
        assert (second.gpu_host, second.engine) == ("Seed", "wav2lip")
        gate.set()
        assert LipSync(url).wait(first, PATIENCE_SECONDS).gpu_host != "Seed"


def test_a_job_on_a_plain_host_is_cancelled_by_hanging_up(backend):
    with plain_host(gate=threading.Event(), video=bytes(8_000_000)) as host:
        url = backend()
        add(url, host)
        job_id = submit(url)
        assert host.began.wait(PATIENCE_SECONDS)
        requests.post(f"{url}/jobs/{job_id}/cancel", timeout=60)
        until(lambda: hosts(url)[0].running == 0)
        host.gate.set()
        assert host.closed.wait(PATIENCE_SECONDS)
        assert job(url, job_id).state is JobState.CANCELLED


def test_a_plain_host_that_fails_again_and_again_fails_the_job(backend):
    said = '{"error": "no face"}'
    with plain_host(status=500, kind="application/json", said=said) as host:
        url = backend()
        add(url, host)
        job_id = submit(url)
        until(lambda: job(url, job_id).state is JobState.FAILED)
        view = job(url, job_id)
        assert [attempt.error.code for attempt in view.attempts] == ["RENDER_FAILED"] * 3
        assert "no face" in view.error.detail


def test_a_tunnel_that_says_the_host_is_away_is_the_reason_why_a_job_waits(backend):
    page = "<html>The endpoint is offline (ERR_NGROK_3200)</html>"
    with scripted(*[answer(page, "404 Not Found", Content_Type="text/html")] * 200) as tunnel:
        url = backend(tunnel.url)
        job_id = submit(url)
        until(lambda: "ERR_NGROK_3200" in job(url, job_id).reason)
        (view,) = hosts(url)
        assert (view.error.code, view.error.hint[:5]) == ("TUNNEL_FAILED", "Start")
        assert "html" not in view.model_dump_json().lower()


def test_a_host_of_another_version_gets_no_job_and_fails_none(backend):
    health = answer('{"engines_ready": []}', Content_Type="application/json", LipSync_Api="2.0")
    with scripted(*[health] * 200) as old:
        url = backend(old.url)
        job_id = submit(url)
        until(lambda: "speaks version 2.0" in job(url, job_id).reason)
        assert hosts(url)[0].error.hint.startswith("Update the backend")
        with gpu_host() as host:
            add(url, host)
            LipSync(url).wait(job_id, PATIENCE_SECONDS)


def test_a_deleted_job_stops_at_its_host(backend):
    with gpu_host(gate=threading.Event(), gate_after=6) as host:
        url = backend(host.url)
        job_id = submit(url)
        assert host.began.wait(PATIENCE_SECONDS)
        assert requests.delete(f"{url}/jobs/{job_id}", timeout=60).status_code == 204
        until(lambda: f"DELETE {job_id}" in host.asked)
        until(lambda: hosts(url)[0].running == 0)


def test_hosts_are_remembered_and_their_tokens_too(backend):
    with gpu_host(token=TOKEN) as host:
        url = backend()
        add(url, host, token=TOKEN)
        other = backend()
        view = LipSync(other).wait(submit(other), PATIENCE_SECONDS)
        assert view.gpu_host == host.url.removeprefix("http://")
