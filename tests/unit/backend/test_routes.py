import io
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection

import av
import pytest
import requests

from contracts.catalogue import catalogue
from contracts.errors import EngineUnavailable
from contracts.jobs import JobState, JobView
from contracts.lipsync import LipSyncOptions
from contracts.problem import PROBLEM_JSON
from lipsync_client.client import LipSync
from tests.fakes.gpu_host import ENGINE, gpu_host
from tests.fakes.running_backend import running_backend
from tests.fakes.uploads import photo, tone
from tests.fakes.voice import FakeVoices


@pytest.fixture
def host():
    with gpu_host() as host:
        yield host


@pytest.fixture
def url(tmp_path, host):
    with running_backend(tmp_path, host.url, [FakeVoices()], max_queue=1) as url:
        yield url


def from_text(url, text="Hello there. Bye.", headers=None, **fields):
    files = {"image": photo()}
    return requests.post(
        url + "/generate-from-text", files=files, data={"text": text, **fields}, headers=headers
    )


def from_audio(url, headers=None, **fields):
    files = {"image": photo(), "audio": tone(0.5)}
    return requests.post(url + "/generate-from-audio", files=files, data=fields, headers=headers)


def test_a_text_becomes_a_video_and_the_answer_says_who_made_it(url, host):
    answer = from_text(url)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "video/mp4"
    assert (answer.headers["X-Engine"], answer.headers["X-Voice"]) == ("counting", "fake:en")
    with av.open(io.BytesIO(answer.content)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 25
    assert b"marks" in b"".join(name.encode() for name in host.forms[0])
    assert host.forms[0]["speech"].startswith(b"RIFF")


def test_a_recording_becomes_a_video_and_goes_to_the_host_as_it_is(url, host):
    answer = from_audio(url)
    assert answer.status_code == 200
    assert "X-Voice" not in answer.headers
    assert host.forms[0]["speech"] == tone(0.5)
    assert "marks" not in host.forms[0]


def test_the_job_tells_what_happened(url):
    job_id = from_text(url, seed=7).headers["X-Job-Id"]
    job = JobView.model_validate_json(requests.get(f"{url}/jobs/{job_id}").content)
    assert job.state is JobState.SUCCEEDED
    assert (job.progress, job.voice, job.engine) == (1.0, "fake:en", "counting")
    assert job.options == LipSyncOptions(seed=7)
    assert job.speech_seconds == pytest.approx(2.95, abs=0.05)
    stages = {"speak", "decode", "track", "prepare", "render", "encode", "finish"}
    assert set(job.stage_seconds) == stages
    assert job.report is not None


def test_options_reach_the_host_and_empty_form_fields_mean_the_default(url, host):
    assert from_audio(url, motion="still", fps="", seed="5").ok
    options = LipSyncOptions.model_validate_json(host.forms[0]["options"])
    assert options == LipSyncOptions(motion="still", seed=5)


def test_who_prefers_not_to_wait_gets_the_job_at_once(url, host):
    host.gate = threading.Event()
    answer = from_text(url, headers={"Prefer": "respond-async"})
    assert answer.status_code == 202
    job = JobView.model_validate(answer.json())
    assert answer.headers["Location"] == f"/jobs/{job.id}"
    assert host.began.wait(20)
    video = requests.get(f"{url}/jobs/{job.id}/video")
    assert (video.status_code, video.json()["code"]) == (409, "VIDEO_NOT_READY")
    host.gate.set()
    assert LipSync(url).wait(job.id, 20).state is JobState.SUCCEEDED
    assert requests.get(f"{url}/jobs/{job.id}/video").ok


def test_a_caller_who_hangs_up_does_not_lose_the_job(url, host):
    host.gate = threading.Event()
    form = {"image": photo(), "text": (None, "Hello.")}
    asked = requests.Request("POST", url, files=form).prepare()
    with closing(HTTPConnection(url.removeprefix("http://"))) as caller:
        caller.request("POST", "/generate-from-text", asked.body, dict(asked.headers))
        assert host.began.wait(20)
    job_id = host.headers[0]["Idempotency-Key"]
    host.gate.set()
    assert LipSync(url).wait(job_id, 20).state is JobState.SUCCEEDED


def test_a_caller_whose_job_is_cancelled_is_told_so(url, host):
    host.gate = threading.Event()
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(from_text, url)
        assert host.began.wait(20)
        job_id = host.headers[0]["Idempotency-Key"]
        LipSync(url).cancel(job_id)
        said = answer.result(20).json()
    assert (said["code"], said["detail"]) == ("CANCELLED", f"job {job_id} was cancelled")


def test_a_full_queue_asks_to_come_back_and_keeps_nothing(url, host, tmp_path):
    host.gate = threading.Event()
    later = {"Prefer": "respond-async"}
    first = from_text(url, headers=later)
    assert host.began.wait(20)
    second = from_text(url, headers=later)
    third = from_text(url, headers=later)
    assert (first.status_code, second.status_code, third.status_code) == (202, 202, 429)
    assert third.json()["code"] == "QUEUE_FULL"
    assert int(third.headers["Retry-After"]) > 0
    assert len(list((tmp_path / "jobs").iterdir())) == 2
    host.gate.set()
    LipSync(url).wait(second.json()["id"], 20)


def test_ten_repeats_at_once_make_one_job_and_a_later_one_finds_it(url, host, tmp_path):
    headers = {"Idempotency-Key": "my.key~1", "Prefer": "respond-async"}
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda _: from_text(url, headers=headers), range(10)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    LipSync(url).wait(answers[0].json()["id"], 20)
    again = from_text(url, headers={"Idempotency-Key": "my.key~1"})
    assert again.headers["X-Job-Id"] == answers[0].json()["id"]
    assert host.renders() == 1
    assert len(list((tmp_path / "jobs").iterdir())) == 1


@pytest.mark.parametrize("key", ["", "a b", "x" * 129, "ä"])
def test_a_key_that_is_no_key_is_refused(url, key):
    answer = from_text(url, headers={"Idempotency-Key": key.encode()})
    assert (answer.status_code, answer.json()["code"]) == (422, "INVALID_INPUT")
    assert "idempotency-key" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("asked", "status", "part"),
    [
        ("bytes=0-99", 206, slice(0, 100)),
        ("bytes=100-", 206, slice(100, None)),
        ("bytes=-50", 206, slice(-50, None)),
        ("bytes=5-999999999", 206, slice(5, None)),
        ("bytes=9-3", 200, slice(None)),
        ("furlongs=1-2", 200, slice(None)),
        ("bytes=0-1,5-6", 200, slice(None)),
        ("bytes=-", 200, slice(None)),
        ("bytes=-999999999", 206, slice(None)),
        ("bytes=0-" + "9" * 5000, 200, slice(None)),
    ],
)
def test_a_video_is_served_in_parts(finished, asked, status, part):
    url, whole = finished
    answer = requests.get(url, headers={"Range": asked})
    assert answer.status_code == status
    assert answer.content == whole[part]
    assert answer.headers["Accept-Ranges"] == "bytes"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    with gpu_host() as host, running_backend(tmp_path_factory.mktemp("b"), host.url) as url:
        answer = from_audio(url)
        yield f"{url}/jobs/{answer.headers['X-Job-Id']}/video", answer.content


@pytest.mark.parametrize("asked", ["bytes=99999999-", "bytes=-0"])
def test_a_part_beyond_the_end_is_refused(finished, asked):
    url, whole = finished
    answer = requests.get(url, headers={"Range": asked})
    assert (answer.status_code, answer.json()["code"]) == (416, "RANGE_REFUSED")
    assert answer.headers["Content-Range"] == f"bytes */{len(whole)}"


@pytest.mark.parametrize("asked", ["bytes=0-99", "bytes=99999999-"])
def test_the_head_of_a_part_is_that_of_the_whole(finished, asked):
    url, whole = finished
    answer = requests.head(url, headers={"Range": asked})
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["Content-Length"] == str(len(whole))


def test_a_video_that_was_removed_is_gone(url, tmp_path):
    job_id = from_audio(url).headers["X-Job-Id"]
    (tmp_path / "jobs" / job_id / "video.mp4").unlink()
    answer = requests.get(f"{url}/jobs/{job_id}/video")
    assert (answer.status_code, answer.json()["code"]) == (410, "MEDIA_EXPIRED")


def test_nothing_but_uploads_and_the_video_stays_on_disk(url, tmp_path):
    job_id = from_text(url).headers["X-Job-Id"]
    files = {path.stem.split("-")[0] for path in (tmp_path / "jobs" / job_id).iterdir()}
    assert files - {"poster"} == {"face", "speech", "fragments", "video"}


def test_jobs_outlive_the_process(tmp_path, host):
    with running_backend(tmp_path, host.url) as url:
        job_id = from_audio(url).headers["X-Job-Id"]
    with running_backend(tmp_path, host.url) as url:
        assert requests.get(f"{url}/jobs/{job_id}/video").ok


def test_a_job_that_was_running_at_the_stop_is_made_after_the_next_start(tmp_path, host):
    host.gate = threading.Event()
    with running_backend(tmp_path, host.url) as url:
        job_id = from_text(url, headers={"Prefer": "respond-async"}).json()["id"]
        assert host.began.wait(20)
    host.gate = None
    with running_backend(tmp_path, host.url) as url:
        assert LipSync(url).wait(job_id, 20).state is JobState.SUCCEEDED


def test_ready_says_what_is_there_and_what_is_missing(url, host):
    ready = requests.get(url + "/health/ready").json()
    assert (ready["engines"], ready["gpu_host"]) == (["counting"], host.url)
    host.token = "changed meanwhile"
    until = time.monotonic() + 60
    while "code" not in ready and time.monotonic() < until:  # what was said lately still counts
        ready = requests.get(url + "/health/ready").json()
    assert ready["code"] == "GPU_REFUSED"


def test_ready_names_a_gpu_host_that_is_down(tmp_path):
    with running_backend(tmp_path, "http://127.0.0.1:9") as url:
        answer = requests.get(url + "/health/ready")
        assert (answer.status_code, answer.json()["code"]) == (503, "GPU_UNREACHABLE")
        assert int(answer.headers["Retry-After"]) > 0
        assert requests.get(url + "/health/live").ok
        assert requests.get(url + "/engines").status_code == 503


def test_choices_are_listed(url):
    client = LipSync(url)
    assert [voice.id for voice in client.voices()] == ["fake:en", "fake:de"]
    assert client.engines() == [ENGINE]
    assert requests.get(url + "/version").json()["version"]


def test_every_error_is_in_the_catalogue_with_a_remedy(url):
    entries = {entry["code"]: entry for entry in requests.get(url + "/errors").json()}
    # Other services' tests may have added errors of their own to the tree.
    assert entries.keys() <= catalogue().keys()
    assert entries["NO_FACE_FOUND"]["status"] == 422
    assert all(entry["title"] and entry["hint"] for entry in entries.values())


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "NOT_FOUND"),
        ("GET", "/jobs/nobody", 404, "JOB_NOT_FOUND"),
        ("GET", "/jobs/nobody/video", 404, "JOB_NOT_FOUND"),
        ("GET", "/jobs/%2e%2e%2fjobs.sqlite3/video", 404, "NOT_FOUND"),
        ("GET", "/voices/", 404, "NOT_FOUND"),
        ("GET", "/generate-from-text", 405, "METHOD_NOT_ALLOWED"),
        ("DELETE", "/voices", 405, "METHOD_NOT_ALLOWED"),
        ("POST", "/generate-from-text", 422, "INVALID_INPUT"),
    ],
)
def test_every_error_is_a_problem(url, method, path, status, code):
    answer = requests.request(method, url + path)
    body = answer.json()
    assert answer.headers["Content-Type"] == PROBLEM_JSON
    assert (answer.status_code, body["status"], body["code"]) == (status, status, code)
    assert body["detail"]
    assert body["hint"]
    assert body["request_id"]
    assert status != 405 or answer.headers["Allow"]


def test_an_unforeseen_fault_is_a_problem_that_tells_no_secrets(url, host, monkeypatch):
    def broken(self):
        raise RuntimeError("a canary")

    monkeypatch.setattr("backend.gpu.hosts.GpuHosts.engines", broken)
    answer = requests.get(url + "/engines")
    assert (answer.status_code, answer.json()["code"]) == (500, "INTERNAL")
    assert "canary" not in answer.text
    assert answer.json()["request_id"]


def test_a_synchronous_answer_has_the_jobs_own_status(url, host):
    host.fail_within = EngineUnavailable("no checkpoint")
    answer = from_text(url)
    assert (answer.status_code, answer.json()["code"]) == (503, "ENGINE_UNAVAILABLE")
    assert int(answer.headers["Retry-After"]) > 0


def test_openapi_describes_both_doors_with_examples_and_problems(url):
    api = requests.get(url + "/openapi.json").json()
    schemas = api["components"]["schemas"]
    for path, extra in (("text", {"text", "voice", "language"}), ("audio", {"audio"})):
        door = api["paths"][f"/generate-from-{path}"]["post"]
        form = door["requestBody"]["content"]["multipart/form-data"]["schema"]
        fields = schemas[form["$ref"].rpartition("/")[2]]["properties"]
        assert set(fields) == {"image", "callback_url", *extra, *LipSyncOptions.model_fields}
        assert all(field.get("description") for field in fields.values())
        assert "video/mp4" in door["responses"]["200"]["content"]
        assert list(door["responses"]["422"]["content"]) == [PROBLEM_JSON]
        assert "curl" in door["description"]
    assert "hint" in schemas["ErrorBody"]["properties"]
    assert "HTTPValidationError" not in str(api["paths"])


def test_the_documentation_needs_nothing_from_elsewhere(url):
    page = requests.get(url + "/docs")
    assert page.headers["Content-Type"].startswith("text/html")
    for words in ("/generate-from-text", "curl -F image=@face.jpg", "bbox_shift", "/jobs/{job_id}"):
        assert words in page.text
    assert "<script" not in page.text
    assert "//cdn" not in page.text
