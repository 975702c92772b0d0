"""What every request carries, how versions are compared, and what is counted."""

import io
import itertools

import pytest

from backend.gpu import transport
from backend.gpu.client import GpuClient
from backend.gpu.traffic import Traffic
from backend.gpu.transport import line_to
from contracts.errors import GpuAnswerBroken, NoGpuHost, VersionMismatch
from contracts.versions import API_HEADER, API_VERSION, FIRST_VERSION, ApiVersion
from tests.fakes.scripted_server import answer, chunked, scripted
from tests.fakes.tls import AnonymousWire, tls_server

HEALTH = '{"engines_ready": []}'
NEWER = f"{API_VERSION.major + 1}.0"
OLDER = f"{API_VERSION.major - 1}.9"


def health(server):
    return GpuClient(server.url, "a-token", 5).health()


def test_every_request_says_what_the_backend_speaks_and_skips_ngroks_warning():
    said = answer(HEALTH, Content_Type="application/json")
    with scripted(said, answer("", "204 No Content"), answer("", "405 No")) as server:
        client = GpuClient(server.url, "a-token", 5)
        client.health()
        client.cancel("job1")
        client.is_plain()
    for head in server.requests:
        assert f"{API_HEADER}: {API_VERSION}" in head
        assert "ngrok-skip-browser-warning:" in head
        assert "Authorization: Bearer a-token" in head


@pytest.mark.parametrize(("theirs", "older"), [(NEWER, "the backend"), (OLDER, "the GPU host at")])
def test_another_major_version_is_refused_with_who_must_update(theirs, older):
    said = answer(HEALTH, Content_Type="application/json", LipSync_Api=theirs)
    with scripted(said) as server, pytest.raises(VersionMismatch) as failure:
        health(server)
    assert theirs in failure.value.detail
    assert failure.value.hint.startswith(f"Update {older}")


def test_an_error_of_another_major_version_is_not_read(caplog):
    said = answer("what", "418 Strange", Content_Type="text/plain", LipSync_Api=NEWER)
    with scripted(said) as server, pytest.raises(VersionMismatch):
        health(server)


@pytest.mark.parametrize(
    ("header", "version"),
    [({}, FIRST_VERSION), ({"LipSync_Api": "1.7"}, ApiVersion(1, 7))],
    ids=["none", "newer minor"],
)
def test_the_hosts_version_is_known_to_who_asks_it(header, version):
    said = answer(HEALTH, Content_Type="application/json", **header)
    with scripted(said) as server, line_to(server.url, "") as line:
        line.ask("GET", "/health")
        assert line.peer.api == version


def test_what_passes_is_counted_to_the_byte_and_told_once_an_answer():
    told = []
    first = answer(HEALTH, Content_Type="application/json", Connection="close")
    second = chunked("some", "pieces", whole=True)
    with scripted(first, second) as server, line_to(server.url, "", meter=told.append) as line:
        line.ask("GET", "/health")
        with line.ask("POST", "/x", data=b"y" * 5000, stream=True) as streamed:
            assert b"".join(streamed.iter_content(None)) == b"somepieces"
    heads = [len(head.encode()) for head in server.requests]
    assert told == [
        Traffic(1, heads[0], len(first)),
        Traffic(1, heads[1] + 5000, len(second)),
    ]


def test_what_failed_is_counted_too():
    told = []
    with scripted(answer("", "500 No")) as server, pytest.raises(NoGpuHost):
        GpuClient(server.url, "", 5, meter=told.append).engines()
    assert [each.requests for each in told] == [1]
    assert told[0].received_bytes > 0


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_an_upload_over_tls_that_is_cut_is_a_broken_connection_not_a_host_that_is_away():
    def take_some(connection):
        for _ in range(50):
            connection.recv(16_384)

    with (
        tls_server(take_some) as url,
        line_to(url, "", AnonymousWire(10.0)) as line,
        pytest.raises(GpuAnswerBroken),
    ):
        line.ask("PUT", "/media/x", data=io.BytesIO(bytes(20_000_000)), verify=False)


def test_an_answer_without_end_is_none_of_a_gpu_host(monkeypatch):
    monkeypatch.setattr(transport, "MAX_ANSWER_BYTES", 3)
    with (
        scripted(answer(HEALTH, Content_Type="application/json")) as server,
        pytest.raises(NoGpuHost),
    ):
        health(server)


def test_an_answer_that_trickles_on_and_on_is_none_of_a_gpu_host(monkeypatch):
    seconds = itertools.count(0, 20.0)
    monkeypatch.setattr(transport.time, "monotonic", lambda: next(seconds))
    said = chunked(HEALTH, *[" "] * 9, whole=True)
    said = said.replace(b"Transfer", b"Content-Type: application/json\r\nTransfer", 1)
    with scripted(said) as server, pytest.raises(NoGpuHost):
        health(server)
