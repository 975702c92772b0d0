"""pyngrok, driven for real against a stand-in for ngrok's agent."""

import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from gpu_service.tunnel.base import Unopened
from gpu_service.tunnel.ngrok import MAX_SILENT, NAME, Ngrok, NgrokTunnel
from tests.fakes.ngrok_agent import DEV_DOMAIN, GOOD, NgrokStandIn
from tests.processes import wait_until

ADDRESS = f"https://{DEV_DOMAIN}"


class Echo(BaseHTTPRequestHandler):
    """Answers with what it was asked."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        data = f"{self.headers['Host']} {self.path} ".encode() + body
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def upstream() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> NgrokStandIn:
    stand_in = NgrokStandIn(tmp_path)
    monkeypatch.setenv("PYNGROK_NGROK_PATH", str(stand_in.path))
    monkeypatch.setenv("NGROK_AUTHTOKEN", GOOD)  # pyngrok would make an argument of it
    return stand_in


class Opened:
    """Tunnels of a test, closed at its end."""

    def __init__(self, upstream: str) -> None:
        self.upstream = upstream
        self.ended = threading.Event()
        self.tunnels: list[NgrokTunnel] = []

    def __call__(self, authtoken: str = GOOD, domain: str = "") -> NgrokTunnel:
        self.ended.clear()
        self.tunnels.append(Ngrok(authtoken, domain)(self.upstream, self.ended.set))
        return self.tunnels[-1]


@pytest.fixture
def opened(agent: NgrokStandIn, upstream: str) -> Iterator[Opened]:
    each = Opened(upstream)
    yield each
    for tunnel in each.tunnels:
        tunnel.close()
    assert agent.running() == []


def refused(opened: Opened, authtoken: str = GOOD, domain: str = "") -> Unopened:
    with pytest.raises(Unopened) as unopened:
        opened(authtoken, domain)
    assert unopened.value.__cause__ is None
    assert unopened.value.__suppress_context__
    return unopened.value


def test_requests_to_the_public_address_come_through(agent: NgrokStandIn, opened: Opened) -> None:
    tunnel = opened()
    assert tunnel.url == ADDRESS
    assert tunnel.fault() == ""
    answer = agent.ask(tunnel.url, "/render?a=1", "POST", data=b"a face")
    assert answer.content == f"{DEV_DOMAIN} /render?a=1 a face".encode()
    assert agent.posts() == [{"name": NAME, "upstream": {"url": opened.upstream}}]


def test_a_domain_is_asked_for_as_the_address(agent: NgrokStandIn, opened: Opened) -> None:
    agent.want(domains=["other.ngrok.app", "mine.example"])
    assert opened(domain="mine.example").url == "https://mine.example"
    assert agent.posts()[0]["url"] == "https://mine.example"


def test_a_tunnel_that_is_closed_is_offline_and_its_agent_has_ended(
    agent: NgrokStandIn, opened: Opened
) -> None:
    tunnel = opened()
    (pid,) = agent.running()
    assert pid
    tunnel.close()
    assert agent.deleted() == [NAME]
    assert agent.running() == []
    assert opened.ended.wait(30)
    assert tunnel.fault()
    tunnel.close()


def test_the_authtoken_is_in_a_private_file_and_no_argument(
    agent: NgrokStandIn, opened: Opened
) -> None:
    tunnel = opened()
    (start,) = agent.starts()
    assert GOOD not in " ".join(start["arguments"])
    assert start["mode"] == "0o600"
    file = Path(start["arguments"][-1])
    assert not file.exists()
    tunnel.close()
    assert not file.parent.exists()


@pytest.mark.parametrize(
    ("authtoken", "code"), [("short", "ERR_NGROK_105"), ("2revoked" + "x" * 30, "ERR_NGROK_107")]
)
def test_a_wrong_authtoken_is_said_plainly_and_shown_nowhere(
    opened: Opened, caplog: pytest.LogCaptureFixture, authtoken: str, code: str
) -> None:
    caplog.set_level(logging.DEBUG)
    unopened = refused(opened, authtoken)
    assert unopened.final
    assert code in unopened.error.detail
    assert "NGROK_AUTHTOKEN" in unopened.error.hint
    said = f"{unopened.error.detail} {unopened.error.hint} {unopened!r} {caplog.text}"
    assert authtoken not in said


def test_too_many_agents_are_said_plainly(agent: NgrokStandIn, opened: Opened) -> None:
    agent.want(sessions_elsewhere=3)
    unopened = refused(opened)
    assert unopened.final
    assert "ERR_NGROK_108" in unopened.error.detail
    assert "https://dashboard.ngrok.com/agents" in unopened.error.hint


def test_an_address_that_is_still_online_is_worth_another_try(
    agent: NgrokStandIn, opened: Opened
) -> None:
    agent.want(online_elsewhere=[DEV_DOMAIN])
    unopened = refused(opened)
    assert not unopened.final
    assert "ERR_NGROK_334" in unopened.error.detail
    assert agent.running() == []
    agent.want()
    assert opened().url == ADDRESS


def test_a_domain_of_somebody_else_is_named(opened: Opened) -> None:
    unopened = refused(opened, domain="foreign.example")
    assert unopened.final
    assert "foreign.example" in unopened.error.detail
    assert "ERR_NGROK_319" in unopened.error.detail


def test_without_an_authtoken_the_agent_uses_its_own_configuration(
    agent: NgrokStandIn, opened: Opened, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("pyngrok.conf.DEFAULT_NGROK_CONFIG_PATH", str(tmp_path / "ngrok.yml"))
    unopened = refused(opened, authtoken="")
    assert "ERR_NGROK_4018" in unopened.error.detail
    assert "--config" not in agent.starts()[0]["arguments"]


def test_without_an_agent_it_is_said_where_to_get_it(
    opened: Opened, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PYNGROK_NGROK_PATH", str(tmp_path / "nowhere" / "ngrok"))

    def unreachable(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr("pyngrok.installer.urlopen", unreachable)
    unopened = refused(opened)
    assert unopened.final
    assert "https://ngrok.com/download" in unopened.error.hint
    assert "PYNGROK_NGROK_PATH" in unopened.error.hint


def test_an_agent_that_is_no_program_is_said_plainly(agent: NgrokStandIn, opened: Opened) -> None:
    agent.path.chmod(0o600)
    agent.path.write_text("nothing")
    unopened = refused(opened)
    assert unopened.final
    assert "can't be started" in unopened.error.detail


def test_a_crash_of_the_agent_is_heard_at_once(agent: NgrokStandIn, opened: Opened) -> None:
    tunnel = opened()
    agent.crash()
    assert opened.ended.wait(30)
    assert "ended" in tunnel.fault()
    assert opened().url == ADDRESS
    assert len(agent.running()) == 1


def test_an_address_that_is_taken_offline_is_found(agent: NgrokStandIn, opened: Opened) -> None:
    tunnel = opened()
    agent.take_offline()
    assert "offline" in tunnel.fault()
    assert agent.ask(tunnel.url, "/").headers["Ngrok-Error-Code"] == "ERR_NGROK_3200"


def test_an_agent_that_does_not_answer_once_is_not_given_up(
    agent: NgrokStandIn, opened: Opened
) -> None:
    tunnel = opened()
    for _ in range(2):
        agent.want(dumb=True)
        assert [tunnel.fault() for _ in range(MAX_SILENT - 1)] == [""] * (MAX_SILENT - 1)
        agent.want()
        assert tunnel.fault() == ""
    agent.want(dumb=True)
    assert [tunnel.fault() for _ in range(MAX_SILENT)][-1]


def test_an_agent_whose_answers_break_off_is_one_that_does_not_answer(
    agent: NgrokStandIn, opened: Opened
) -> None:
    tunnel = opened()
    agent.want(breaking_off=True)
    assert [bool(tunnel.fault()) for _ in range(MAX_SILENT)] == [False] * (MAX_SILENT - 1) + [True]


def test_an_agent_that_breaks_off_while_it_opens_a_tunnel_is_ended_and_worth_another_try(
    agent: NgrokStandIn, opened: Opened
) -> None:
    agent.want(breaking_off=True)
    assert not refused(opened).final
    assert agent.running() == []


def num_open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_tries_in_vain_leave_no_file_open(agent: NgrokStandIn, opened: Opened) -> None:
    agent.want(sessions_elsewhere=3)
    refused(opened)
    before = num_open_files()
    for _ in range(3):
        refused(opened)
    wait_until(lambda: num_open_files() <= before)
