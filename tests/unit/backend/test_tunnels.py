"""What tunnels answer in place of the GPU host behind them."""

import pytest

from backend.gpu.client import GpuClient
from backend.gpu.rendering import RenderOrder
from backend.gpu.stop import Stop
from backend.gpu.tunnels import MONTH_PAUSE_SECONDS, RATE_PAUSE_SECONDS, tunnel_fault
from backend.staging.fragments import Fragments
from backend.staging.store import JobMedia
from contracts.errors import NoGpuHost, TunnelFailed
from contracts.lipsync import LipSyncOptions
from tests.fakes.scripted_server import answer, chunked, scripted

CANARY = "canary-e1f0"
URL = "https://name.ngrok-free.app"


def page(code):
    """As ngrok's: a web page that names the code somewhere."""
    filler = f"<style>{CANARY} {'x' * 5000}</style>"
    return f"<!DOCTYPE html><html><head>{filler}</head><body><p>Sorry ({code})</body></html>"


@pytest.mark.parametrize(
    ("number", "status", "said", "hint", "pause"),
    [
        (3200, 404, "offline", "Start the GPU host", None),
        (8012, 502, "does not answer", "terminal", None),
        (3004, 502, "broke off", "memory", None),
        (6024, 200, "warning for browsers", "ngrok-skip-browser-warning", None),
        (725, 403, "bandwidth", "next month", MONTH_PAUSE_SECONDS),
        (727, 402, "requests", "next month", MONTH_PAUSE_SECONDS),
        (734, 403, "too short a time", "in a minute", RATE_PAUSE_SECONDS),
        (702, 429, "too short a time", "in a minute", RATE_PAUSE_SECONDS),
        (9999, 500, "ERR_NGROK_9999", "docs/errors/err_ngrok_9999", None),
    ],
)
@pytest.mark.parametrize("where", ["header", "page", "text"])
def test_ngroks_own_answers_are_known_by_their_code(where, number, status, said, hint, pause):
    code = f"ERR_NGROK_{number}"
    headers = {"Ngrok-Error-Code": code} if where == "header" else {}
    body = {"header": "", "page": page(code), "text": f"error: {code}\r\n"}[where]
    fault = tunnel_fault(status, headers, body.encode(), URL)
    assert code in fault.detail
    assert URL in fault.detail
    assert said in fault.detail
    assert hint in fault.hint
    assert fault.retry_after_seconds == pause
    assert "<" not in fault.detail + fault.hint
    assert CANARY not in fault.detail + fault.hint


@pytest.mark.parametrize(
    ("status", "headers", "body", "who", "hint"),
    [
        (530, {"Server": "cloudflare"}, b"error code: 1033", "Cloudflare", "not connected"),
        (502, {"Server": "cloudflare"}, b"<html>Bad gateway", "Cloudflare", "behind it"),
        (524, {"Server": "cloudflare"}, b"<html>", "Cloudflare", "behind it"),
        (504, {"Server": "nginx"}, b"<html>", "a gateway", "behind it"),
        (503, {}, b"", "a gateway", "behind it"),
    ],
)
def test_a_gateways_answer_is_told_from_the_hosts(status, headers, body, who, hint):
    fault = tunnel_fault(status, headers, body, URL)
    assert fault.detail == f"{who} answers {status} in place of the GPU host at {URL}"
    assert hint in fault.hint


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b""),
        (404, b"<html>Not Found</html>"),
        (503, b'{"code": "ENGINE_BUSY", "detail": "busy"}'),
        (502, b'{"detail": "the host says ERR_NGROK_3200"}'),
        (500, b"<html>Internal Server Error</html>"),
    ],
)
def test_what_the_host_itself_says_is_none_of_the_tunnels(status, body):
    assert tunnel_fault(status, {"Server": "uvicorn"}, body, URL) is None


OFFLINE = answer(
    page("ERR_NGROK_3200"), "404 Not Found", Content_Type="text/html",
    Ngrok_Error_Code="ERR_NGROK_3200",
)  # fmt: skip
WARNING = answer(page("ERR_NGROK_6024"), Content_Type="text/html")


@pytest.mark.parametrize(
    ("said", "code"), [(OFFLINE, "ERR_NGROK_3200"), (WARNING, "ERR_NGROK_6024")]
)
@pytest.mark.parametrize("ask", ["health", "engines", "is_plain"])
def test_every_question_is_answered_with_what_the_tunnel_says(said, code, ask):
    with scripted(said) as server, pytest.raises(TunnelFailed) as failure:
        getattr(GpuClient(server.url, "", 5), ask)()
    assert code in failure.value.detail
    assert "html" not in repr(failure.value).lower()


def test_a_page_in_pieces_is_read_far_enough_to_find_the_code():
    pieces = chunked("<html>", "x" * 9000, "ERR_NGROK_", "3200", whole=True)
    said = pieces.replace(b"200 OK", b"404 Not Found").replace(
        b"Transfer", b"Content-Type: text/html\r\nTransfer", 1
    )
    with scripted(said) as server, pytest.raises(TunnelFailed, match="ERR_NGROK_3200"):
        GpuClient(server.url, "", 5).health()


def test_an_endless_page_is_not_read_to_its_end():
    said = answer("<html>" + "x" * 100_000, length=10**9, Content_Type="text/html")
    with scripted(said) as server, pytest.raises(NoGpuHost):
        GpuClient(server.url, "", 5).engines()


@pytest.fixture
def render(tmp_path):
    media = JobMedia(tmp_path)
    media.face.write_bytes(b"a face")
    media.speech.write_bytes(b"a voice")

    def render(url):
        with Fragments(media) as fragments:
            order = RenderOrder("job1", media.face, media.speech, LipSyncOptions())
            client = GpuClient(url, "", 60.0, pause_seconds=0.01)
            return list(client.render(order, fragments, Stop(), lambda died: None))

    return render


@pytest.mark.parametrize("said", [OFFLINE, WARNING])
def test_a_render_that_meets_the_tunnel_instead_of_the_host_says_so(render, said):
    with scripted(said) as server, pytest.raises(TunnelFailed, match="ERR_NGROK"):
        render(server.url)


def test_a_render_does_not_go_on_asking_a_tunnel_whose_month_is_used_up(render):
    begun = b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.lipsync.records\r\nRender-Id: r1\r\n"
    used_up = answer(page("ERR_NGROK_725"), "403 Forbidden", Content_Type="text/html")
    with scripted(begun + b"Content-Length: 99\r\n\r\n", used_up, OFFLINE, OFFLINE) as server:
        with pytest.raises(TunnelFailed, match="725"):
            render(server.url)
        assert [head.split()[0] for head in server.requests] == ["POST", "GET"]
