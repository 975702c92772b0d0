"""The backend as a process: what it does when it is stopped or killed."""

import threading

import av
import pytest
import requests

from backend.staging.fragments import FragmentsReader
from backend.staging.store import MediaStore
from contracts.jobs import JobState
from lipsync_client.client import LipSync
from tests.fakes.gpu_host import gpu_host
from tests.fakes.uploads import photo, tone
from tests.processes import Service, wait_until

TOKEN = "canary-5f0c"


def backend_process(folder, gpu_url):
    settings = {"GPU_URL": gpu_url, "TOKEN": TOKEN, "GPU_TOKEN": TOKEN, "LEASE_SECONDS": 3}
    return Service("backend", folder, settings)


def submit(url, **headers):
    return requests.post(
        url + "/generate-from-audio",
        files={"image": photo(), "audio": tone(0.3)},
        headers={"Authorization": f"Bearer {TOKEN}", **headers},
        timeout=60,
    )


def media_seconds(folder, job_id):
    """How much of its video a backend has kept."""
    return FragmentsReader(MediaStore(folder / "jobs").of(job_id)).media_seconds


@pytest.fixture
def host():
    with gpu_host(token=TOKEN) as host:
        yield host


def test_a_killed_backend_loses_no_job(tmp_path, host):
    host.gate = threading.Event()
    with backend_process(tmp_path, host.url) as backend:
        ids = [submit(backend.url, Prefer="respond-async").json()["id"] for _ in range(3)]
        assert host.began.wait(20)
        backend.kill()
    host.gate.set()
    host.gate = None
    with backend_process(tmp_path, host.url) as backend:
        client = LipSync(backend.url, token=TOKEN)
        assert {client.wait(job_id, 30).state for job_id in ids} == {JobState.SUCCEEDED}


@pytest.mark.parametrize("end", [Service.kill, Service.stop])
def test_a_backend_that_ends_in_mid_render_goes_on_where_it_was(tmp_path, host, end):
    host.gate, host.gate_after = threading.Event(), 6
    with backend_process(tmp_path, host.url) as backend:
        job_id = submit(backend.url, Prefer="respond-async").json()["id"]
        # Both fragments that the gate lets through are on the disk: the third comes next.
        wait_until(lambda: media_seconds(tmp_path, job_id) == pytest.approx(0.4))
        end(backend)
    asked = list(host.asked)
    with backend_process(tmp_path, host.url) as backend:
        client = LipSync(backend.url, token=TOKEN)
        assert next(view for view in client.events(job_id, 30) if view.state is JobState.RUNNING)
        host.gate.set()
        view = client.wait(job_id, 30)
        client.download(job_id, tmp_path / "video.mp4")
    assert host.asked[len(asked) :] == [f"GET {job_id} 3"]
    assert asked == [f"POST {job_id}"]
    assert len(host.rendered) == 1
    assert (view.attempts, view.stream) == ((), 1)
    with av.open(tmp_path / "video.mp4") as container:
        assert sum(1 for _ in container.decode(video=0)) == 25


def test_a_backend_takes_over_from_another_that_shares_its_database_and_is_killed(tmp_path, host):
    host.gate = threading.Event()
    with backend_process(tmp_path, host.url) as backend:
        job_id = submit(backend.url, Prefer="respond-async").json()["id"]
        assert host.began.wait(20)
        with backend_process(tmp_path, host.url) as other:
            backend.kill()
            host.gate.set()
            view = LipSync(other.url, token=TOKEN).wait(job_id, 60)
    assert view.attempts == ()
    assert len(host.rendered) == 1


def test_a_stopped_backend_ends_in_time_and_tells_who_waits_that_the_job_goes_on(tmp_path, host):
    host.gate = threading.Event()
    with backend_process(tmp_path, host.url) as backend:
        answers = []
        caller = threading.Thread(target=lambda: answers.append(submit(backend.url)))
        caller.start()
        assert host.began.wait(20)
        assert backend.stop() == 0
        caller.join()
    assert (answers[0].status_code, answers[0].json()["code"]) == (503, "BUSY")
    assert "goes on when it runs again" in answers[0].json()["detail"]
    assert "Traceback" not in backend.log()
    assert TOKEN not in backend.log()


def test_a_stopped_backend_sends_those_away_who_follow_a_job(tmp_path, host):
    host.gate = threading.Event()
    with backend_process(tmp_path, host.url) as backend:
        job_id = submit(backend.url, Prefer="respond-async").json()["id"]
        assert host.began.wait(20)
        headers = {"Authorization": f"Bearer {TOKEN}"}
        events = requests.get(
            f"{backend.url}/jobs/{job_id}/events", headers=headers, stream=True, timeout=60
        )
        told = events.iter_lines(chunk_size=1)
        assert next(told) == b"event: job"
        assert backend.stop() == 0
        assert b'"state":"queued"' in b"".join(told)
    assert "graceful shutdown exceeded" not in backend.log()
    assert "Traceback" not in backend.log()


def test_a_stream_that_is_broken_off_is_no_error_of_the_backend(tmp_path, host):
    host.gate, host.gate_after = threading.Event(), 6
    with backend_process(tmp_path, host.url) as backend:
        job_id = submit(backend.url, Prefer="respond-async").json()["id"]
        client = LipSync(backend.url, token=TOKEN)
        assert next(view for view in client.events(job_id, 30) if view.media_seconds)
        headers = {"Authorization": f"Bearer {TOKEN}"}
        stream = requests.get(
            f"{backend.url}/jobs/{job_id}/stream", headers=headers, stream=True, timeout=60
        )
        assert stream.status_code == 200
        client.cancel(job_id)
        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            assert stream.content
    assert "a stream is broken off" in backend.log()
    assert " ERROR " not in backend.log()
