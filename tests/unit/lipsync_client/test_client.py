"""The client against a loopback stand-in for the backend."""

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from contracts.errors import EngineNotFound, JobNotFound, NoFaceFound, UpstreamError
from contracts.jobs import JobStage, JobState, JobView
from lipsync_client import BackendUnreachable, LipSync
from tests.fakes.backend import FACEWARP, VOICES, FakeBackend, job_view, serve


@pytest.fixture
def fake() -> Iterator[FakeBackend]:
    with serve(FakeBackend()) as backend:
        yield backend


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


@pytest.fixture
def breaking_off() -> Iterator[str]:
    """Address of a server that dies in the middle of each answer."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            with server.accept()[0] as connection:
                connection.recv(65_536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n{")

        thread = threading.Thread(target=answer)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        thread.join()


@pytest.mark.parametrize("ask", [LipSync.gpu_host, LipSync.voices])
def test_an_answer_that_breaks_off_is_an_upstream_error(
    breaking_off: str, ask: Callable[[LipSync], object]
) -> None:
    with pytest.raises(UpstreamError):
        ask(LipSync(breaking_off))


def test_a_download_that_breaks_off_leaves_no_file(breaking_off: str, tmp_path: Path) -> None:
    with pytest.raises(UpstreamError):
        LipSync(breaking_off).download("job", tmp_path / "video.mp4")
    assert list(tmp_path.iterdir()) == []


def test_the_token_is_sent(fake: FakeBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    fake.token = "right"
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert LipSync(fake.url, "right").engines() == [FACEWARP]
