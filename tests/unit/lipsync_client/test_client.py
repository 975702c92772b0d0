"""The client against a loopback stand-in for the backend."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from contracts.errors import (
    EngineNotFound,
    JobNotFound,
    NoFaceFound,
    UpstreamError,
    VideoNotReady,
)
from contracts.hosts import NewGpuHost
from contracts.jobs import JobStage, JobState, JobView
from lipsync_client import BackendUnreachable, LipSync
from lipsync_client.multipart import CHUNK_BYTES
from tests.fakes.backend import FACEWARP, VOICES, FakeBackend, job_view, serve
from tests.fakes.scripted_server import answer, chunked, scripted


@pytest.fixture
def fake() -> Iterator[FakeBackend]:
    with serve(FakeBackend()) as backend:
        yield backend


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lipsync_client.client.DOWNLOAD_PAUSES_SECONDS", (0.0,) * 4)


@pytest.fixture
def face(tmp_path: Path) -> Path:
    path = tmp_path / 'a "face".png'
    path.write_bytes(b"picture")
    return path


def test_voices_and_engines_come_as_the_wire_types(fake: FakeBackend) -> None:
    client = LipSync(fake.url)
    assert client.voices() == VOICES
    assert client.engines() == [FACEWARP]
    assert client.gpu_host() == "http://127.0.0.1:9000"


def test_a_text_is_submitted_with_its_options(fake: FakeBackend, face: Path) -> None:
    job = LipSync(fake.url).submit(face, text="Ahoj", voice="espeak:cs", fps=30)
    assert job == fake.next_job
    assert fake.forms == [
        {"kind": "text", "image": b"picture", "text": "Ahoj", "voice": "espeak:cs", "fps": "30"}
    ]
    assert fake.headers[0]["Prefer"] == "respond-async"


def test_a_recording_is_submitted(fake: FakeBackend, face: Path, tmp_path: Path) -> None:
    speech = tmp_path / "speech.wav"
    speech.write_bytes(b"sound" * 100_000)
    LipSync(fake.url).submit(face, speech=speech)
    assert fake.forms == [{"kind": "audio", "image": b"picture", "audio": b"sound" * 100_000}]


def test_a_video_needs_either_a_text_or_a_recording(face: Path) -> None:
    with pytest.raises(ValueError, match="either"):
        LipSync("http://127.0.0.1:9").submit(face)
    with pytest.raises(ValueError, match="either"):
        LipSync("http://127.0.0.1:9").submit(face, text="a", speech=face)


def test_a_file_that_can_not_be_read_is_told_and_nothing_is_sent(
    fake: FakeBackend, face: Path, tmp_path: Path
) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.png"):
        LipSync(fake.url).submit(tmp_path / "none.png", text="Hello")
    with pytest.raises(OSError, match=tmp_path.name):
        LipSync(fake.url).submit(face, speech=tmp_path)
    assert fake.headers == []


def test_a_refusal_is_the_same_error_as_in_the_backend(fake: FakeBackend, face: Path) -> None:
    fake.refuse = EngineNotFound("there is no engine 'x'", hint="Take another.")
    with pytest.raises(EngineNotFound, match="there is no engine") as caught:
        LipSync(fake.url).submit(face, text="Hello", engine="x")
    assert caught.value.hint == "Take another."


def test_waiting_ends_with_the_video(fake: FakeBackend, tmp_path: Path) -> None:
    fake.jobs["job"] = job_view(JobState.RUNNING, JobStage.RENDERING, id="job")
    seen: list[JobState] = []

    def finish(job: JobView) -> None:
        seen.append(job.state)
        fake.jobs["job"] = job_view(JobState.SUCCEEDED, JobStage.DONE, id="job")

    client = LipSync(fake.url)
    assert client.wait("job", on_change=finish).state == JobState.SUCCEEDED
    assert seen == [JobState.RUNNING, JobState.SUCCEEDED]
    assert client.download("job", tmp_path / "video.mp4").read_bytes() == fake.video


def test_waiting_for_a_job_that_fails_raises_its_error(fake: FakeBackend) -> None:
    error = NoFaceFound("no face was found").body()
    fake.jobs["job"] = job_view(JobState.FAILED, JobStage.PREPARING, error=error)
    with pytest.raises(NoFaceFound, match="no face was found"):
        LipSync(fake.url).wait("job")


def test_waiting_ends_at_its_own_limit(fake: FakeBackend) -> None:
    fake.jobs["job"] = job_view(JobState.RUNNING, JobStage.RENDERING)
    with pytest.raises(TimeoutError):
        LipSync(fake.url).wait("job", timeout_seconds=-1)


def test_an_unknown_job_is_not_found_however_it_is_written(fake: FakeBackend) -> None:
    for job_id in ("none", "a/b", "a?b", "a#b"):
        with pytest.raises((JobNotFound, UpstreamError)):
            LipSync(fake.url).job(job_id)


def test_a_backend_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(BackendUnreachable, match=r"127\.0\.0\.1:9"):
        LipSync("http://127.0.0.1:9").voices()


def test_an_answer_of_another_kind_is_an_upstream_error(fake: FakeBackend) -> None:
    fake.voices = [FACEWARP]  # type: ignore[list-item]
    with pytest.raises(UpstreamError, match="not what was asked for"):
        LipSync(fake.url).voices()


@pytest.mark.parametrize("ask", [LipSync.gpu_host, LipSync.voices, LipSync.jobs])
def test_an_answer_that_breaks_off_is_an_upstream_error(ask: Callable[[LipSync], object]) -> None:
    with scripted(answer("{", length=900)) as server, pytest.raises(UpstreamError):
        ask(LipSync(server.url))


def test_a_download_goes_on_where_it_broke_off(tmp_path: Path) -> None:
    begin, end = b"b" * CHUNK_BYTES, b"e" * CHUNK_BYTES
    first = answer(begin, length=2 * CHUNK_BYTES, ETag='"v"')
    rest = answer(end, "206 Partial Content", ETag='"v"')
    with scripted(first, rest) as server:
        assert LipSync(server.url).download("job", tmp_path / "a.mp4").read_bytes() == begin + end
    assert f"Range: bytes={CHUNK_BYTES}-" in server.requests[1]
    assert 'If-Range: "v"' in server.requests[1]


def test_a_download_of_another_video_than_before_begins_anew(tmp_path: Path) -> None:
    old = answer(b"o" * CHUNK_BYTES, length=2 * CHUNK_BYTES, ETag='"v"')
    with scripted(old, answer(b"new one", ETag='"w"')) as server:
        assert LipSync(server.url).download("job", tmp_path / "a.mp4").read_bytes() == b"new one"


def test_a_download_that_keeps_breaking_off_leaves_no_file(tmp_path: Path) -> None:
    with scripted(*[answer(b"x", length=9)] * 5) as server, pytest.raises(BackendUnreachable):
        LipSync(server.url).download("job", tmp_path / "video.mp4")
    assert list(tmp_path.iterdir()) == []


def test_a_download_goes_on_through_a_proxy_that_answers_for_the_backend(tmp_path: Path) -> None:
    begin = answer(b"b" * CHUNK_BYTES, length=CHUNK_BYTES + 1, ETag='"v"')
    away = answer("<html>", "502 Bad Gateway")
    with scripted(begin, away, answer(b"e", "206 Partial Content", ETag='"v"')) as server:
        path = LipSync(server.url).download("job", tmp_path / "a.mp4")
    assert path.read_bytes() == b"b" * CHUNK_BYTES + b"e"


def test_a_page_to_log_in_at_is_taken_for_no_video(tmp_path: Path) -> None:
    login = answer("<html>", "302 Found", Location="https://login.example/")
    with scripted(login) as server, pytest.raises(UpstreamError, match="302"):
        LipSync(server.url).download("job", tmp_path / "a.mp4")
    assert list(tmp_path.iterdir()) == []


def test_a_download_that_is_refused_leaves_what_was_there(
    fake: FakeBackend, tmp_path: Path
) -> None:
    (tmp_path / "video.mp4").write_bytes(b"older")
    fake.token = ""
    with pytest.raises(UpstreamError):
        LipSync("http://127.0.0.1:9").download("job", tmp_path / "video.mp4")
    assert [path.name for path in tmp_path.iterdir()] == ["video.mp4"]


def test_a_stream_waits_for_its_beginning_and_says_when_it_breaks_off() -> None:
    not_yet = answer(VideoNotReady("not yet").body().model_dump_json(), "409 Conflict")
    waiting = job_view(JobState.QUEUED, JobStage.WAITING, version=1)
    begun = job_view(JobState.RUNNING, JobStage.RENDERING, version=2)
    change = chunked(f"data: {begun.model_dump_json()}\n\n", whole=True)
    first = answer(waiting.model_dump_json())
    with scripted(first, not_yet, change, chunked("init and more")) as server:
        stream = LipSync(server.url).stream("job")
        assert next(stream) == b"init and more"
        with pytest.raises(UpstreamError, match="broke off"):
            next(stream)
    asked = [request.split()[1] for request in server.requests]
    assert asked == ["/jobs/job", "/jobs/job/stream", "/jobs/job/events", "/jobs/job/stream"]


def test_a_stream_of_a_job_that_ended_without_one_is_refused() -> None:
    never = answer(VideoNotReady("never").body().model_dump_json(), "409 Conflict")
    cancelled = answer(job_view(JobState.CANCELLED, JobStage.DONE).model_dump_json())
    with scripted(cancelled, never) as server, pytest.raises(VideoNotReady):
        next(LipSync(server.url).stream("job"))


def test_jobs_are_asked_for_by_page_and_state() -> None:
    with scripted(answer('{"jobs": [], "next_cursor": "b"}'), answer('{"jobs": []}')) as server:
        client = LipSync(server.url)
        assert client.jobs().next_cursor == "b"
        client.jobs("a&b", limit=3, state=JobState.QUEUED)
    assert server.requests[0].startswith("GET /jobs?limit=20 ")
    assert server.requests[1].startswith("GET /jobs?limit=3&cursor=a%26b&state=queued ")


def test_a_job_is_cancelled_retried_and_deleted() -> None:
    job = answer(job_view(JobState.CANCELLED, JobStage.DONE).model_dump_json())
    with scripted(job, job, answer(status="204 No Content")) as server:
        client = LipSync(server.url)
        assert client.cancel("a/b").state is JobState.CANCELLED
        client.retry("job")
        client.delete("job")
    lines = [request.splitlines()[0] for request in server.requests]
    assert lines == [
        "POST /jobs/a%2Fb/cancel HTTP/1.1",
        "POST /jobs/job/retry HTTP/1.1",
        "DELETE /jobs/job HTTP/1.1",
    ]


def test_gpu_hosts_are_listed_added_and_removed() -> None:
    host = '{"id": "h", "name": "Colab", "url": "https://gpu.example", "healthy": false}'
    replies = answer(f"[{host}]"), answer(host, "201 Created"), answer(status="204 No Content")
    with scripted(*replies) as server:
        client = LipSync(server.url)
        assert [each.name for each in client.gpu_hosts()] == ["Colab"]
        assert client.add_gpu_host("lipsync://t@gpu.example", name="Colab").id == "h"
        client.remove_gpu_host("h")
    sent = NewGpuHost.model_validate_json(server.bodies[1])
    assert (sent.connection, sent.name) == ("lipsync://t@gpu.example", "Colab")
    assert server.requests[2].startswith("DELETE /gpu-hosts/h ")


def test_hosts_that_are_found_are_listed() -> None:
    found = '{"configured": true, "hosts": [{"url": "https://gpu.example"}]}'
    with scripted(answer(found)) as server:
        hosts = LipSync(server.url).found_gpu_hosts().hosts
    assert [each.url for each in hosts] == ["https://gpu.example"]
    assert server.requests[0].startswith("GET /gpu-hosts/found ")


def test_a_key_and_a_callback_are_sent_and_what_is_none_is_not(
    fake: FakeBackend, face: Path
) -> None:
    LipSync(fake.url).submit(
        face, text="Hi", idempotency_key="k", callback_url="https://a.example", voice=None
    )
    assert fake.headers[0]["Idempotency-Key"] == "k"
    assert fake.forms[0]["callback_url"] == "https://a.example"
    assert "voice" not in fake.forms[0]


def test_the_token_is_sent(fake: FakeBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    fake.token = "right"
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert LipSync(fake.url, "right").engines() == [FACEWARP]
