"""The base64 socket of a backend as it is started, driven by a client that is not ours."""

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from contracts.jobs import JobState
from lipsync_client import LipSync
from tests.fakes.gpu_host import FakeGpuHost, gpu_host
from tests.fakes.uploads import photo, tone
from tests.processes import Service

LIMIT = 400_000


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


GOOD = {"image_base64": b64(photo()), "audio_base64": b64(tone(0.3))}


@pytest.fixture
def host() -> Iterator[FakeGpuHost]:
    with gpu_host() as host:
        yield host


def backend_process(folder: Path, gpu_url: str, **settings: object) -> Service:
    return Service("backend", folder, {"GPU_URL": gpu_url, **settings})


@pytest.fixture
def backend(tmp_path: Path, host: FakeGpuHost) -> Iterator[Service]:
    with backend_process(tmp_path, host.url, MAX_UPLOAD_BYTES=LIMIT) as backend:
        yield backend


def socket_to(backend: Service) -> ClientConnection:
    address = backend.url.replace("http", "ws") + "/ws/lipsync"
    return connect(address, max_size=None, proxy=None)


def answer_of(socket: ClientConnection) -> dict[str, object]:
    while "progress" in (answer := json.loads(socket.recv(60))):
        pass
    return dict(answer)


def test_what_http_would_take_the_socket_takes_too(backend: Service) -> None:
    sound = tone(12.0)
    assert 0.9 < len(sound) / LIMIT < 0.98
    lines = base64.encodebytes(sound).decode().replace("\n", "\r\n")
    with socket_to(backend) as socket:
        socket.send(json.dumps({**GOOD, "audio_base64": lines}))
        assert set(answer_of(socket)) == {"video_base64", "job_id"}


def test_a_message_over_the_limit_is_refused_and_one_far_over_closes_the_socket(
    backend: Service,
) -> None:
    with socket_to(backend) as socket:
        socket.send(json.dumps({**GOOD, "audio_base64": b64(bytes(LIMIT))}))
        error = answer_of(socket)["error"]
        assert isinstance(error, dict)
        assert error["code"] == "MEDIA_TOO_LARGE"
        with suppress(ConnectionClosed):
            socket.send(json.dumps({**GOOD, "audio_base64": b64(bytes(2 * LIMIT))}))
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(60)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1009
    assert "exceeds limit" in closed.value.rcvd.reason
    with socket_to(backend) as socket:
        socket.send(json.dumps(GOOD))
        assert "video_base64" in answer_of(socket)


def test_one_who_sends_slowly_holds_up_nobody(backend: Service, host: FakeGpuHost) -> None:
    text = json.dumps(GOOD)

    def slowly() -> Iterator[str]:
        yield text[:5000]
        with socket_to(backend) as other:
            other.send(text)
            assert "video_base64" in answer_of(other)
        yield text[5000:]

    with socket_to(backend) as slow:
        slow.send(slowly())
        assert "video_base64" in answer_of(slow)
    assert host.renders() == 2


def test_a_backend_that_is_stopped_cancels_no_job_of_a_socket(
    tmp_path: Path, host: FakeGpuHost, backend: Service
) -> None:
    host.gate = threading.Event()
    with socket_to(backend) as socket:
        socket.send(json.dumps({**GOOD, "progress": True}))
        job_id = json.loads(socket.recv(60))["progress"]["job_id"]
        assert host.began.wait(60)
        assert backend.stop() == 0
        with suppress(ConnectionClosed):
            # Whether there is still time to say that the job goes on is a matter of chance.
            assert "goes on when it runs again" in str(answer_of(socket))
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(60)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1012
    host.gate.set()
    with backend_process(tmp_path, host.url) as again:
        assert LipSync(again.url).wait(job_id, 60).state is JobState.SUCCEEDED


def test_a_backend_that_is_killed_goes_on_with_the_job_of_a_socket(
    tmp_path: Path, host: FakeGpuHost
) -> None:
    host.gate = threading.Event()
    with backend_process(tmp_path, host.url) as backend, socket_to(backend) as socket:
        socket.send(json.dumps({**GOOD, "idempotency_key": "one"}))
        assert host.began.wait(60)
        backend.kill()
        with pytest.raises(ConnectionClosed):
            socket.recv(60)
    host.gate.set()
    with backend_process(tmp_path, host.url) as again, socket_to(again) as socket:
        socket.send(json.dumps({**GOOD, "idempotency_key": "one"}))
        assert "video_base64" in answer_of(socket)
        assert len(LipSync(again.url).jobs().jobs) == 1
