"""The command `serve`: who is let in, and what is said at the start."""

import re
import stat
from pathlib import Path

import pytest
import requests
from starlette.types import ASGIApp

from contracts.hosts import parse_connection
from gpu_service.cli import main
from gpu_service.server import Server
from tests.fakes.proxy import proxy_before
from tests.fakes.serving import serving
from tests.processes import wait_until

ADDRESS = "http://127.0.0.1:9000"
TIMEOUT = 30


class Served:
    """What would have been served; nothing listens, but all is said as if it did."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.apps: list[ASGIApp] = []

        def run(server: Server) -> None:
            self.apps.append(server.config.app)
            server._on_listening(ADDRESS)

        monkeypatch.setattr("gpu_service.serve_cli.Server.run", run)

    def status(self, token: str) -> int:
        with serving(self.apps[-1]) as url:
            sent = {"Authorization": f"Bearer {token}"}
            return requests.get(f"{url}/engines", headers=sent, timeout=TIMEOUT).status_code


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Served:
    monkeypatch.setenv("GPU_DATA_DIR", str(tmp_path / "data"))
    return Served(monkeypatch)


def made_token(said: str) -> str:
    (token,) = re.findall(r"^token +(\S{24,})$", said, re.MULTILINE)
    return str(token)


def test_beyond_loopback_a_token_is_made_printed_and_asked_for(
    served: Served,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("GPU_HOST", "0.0.0.0")  # noqa: S104 - nothing listens in this test
    assert main(["serve"]) == 0
    said = capsys.readouterr().out
    token = made_token(said)
    assert served.status(token) == 200
    assert served.status("") == 401
    assert token not in caplog.text
    assert "TLS" in said
    assert "lipsync://" not in said  # it would say https


def test_a_token_that_was_made_is_kept_for_its_owner_alone_and_used_again(
    served: Served, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    tokens = set()
    for _ in range(2):
        assert main(["serve", "--tunnel", "none"]) == 0
        tokens.add(made_token(capsys.readouterr().out))
    assert len(tokens) == 1
    file = tmp_path / "data" / "token"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [each.name for each in file.parent.iterdir() if each.is_file()] == ["token"]


@pytest.mark.parametrize("kept", ["", "short", "a b c d e f g h i j k l m n o p q r s t", "é" * 30])
def test_a_kept_token_that_is_none_is_made_anew(
    served: Served, capsys: pytest.CaptureFixture[str], tmp_path: Path, kept: str
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "token").write_text(kept)
    assert main(["serve", "--tunnel", "none"]) == 0
    token = made_token(capsys.readouterr().out)
    assert token != kept
    assert (tmp_path / "data" / "token").read_text().strip() == token


def test_a_token_that_cannot_be_kept_serves_all_the_same(
    served: Served,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GPU_DATA_DIR", str(tmp_path / "file"))
    assert main(["serve", "--tunnel", "none"]) == 0
    token = made_token(capsys.readouterr().out)
    assert "can't be kept" in caplog.text
    assert token not in caplog.text


def test_on_loopback_without_a_tunnel_nobody_is_asked_for_a_token(
    served: Served, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["serve"]) == 0
    said = capsys.readouterr().out
    assert not re.search(r"^token", said, re.MULTILINE)
    assert ADDRESS in said
    assert served.status("") == 200
    assert not (tmp_path / "data").exists()


def test_a_token_of_ones_own_is_not_printed_where_it_says_nothing_new(
    served: Served, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GPU_TOKEN", "canary-5b1e")
    for host in ("127.0.0.1", "0.0.0.0"):  # noqa: S104 - nothing listens in this test
        monkeypatch.setenv("GPU_HOST", host)
        assert main(["serve"]) == 0
        assert "canary-5b1e" not in capsys.readouterr().out
    assert served.status("canary-5b1e") == 200


def test_it_says_which_engines_are_ready_and_how_to_mend_the_others(
    served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve"]) == 0
    said = capsys.readouterr().out
    assert re.search(r"^engine +facewarp: ready on cpu$", said, re.MULTILINE)
    assert re.search(r"^engine +wav2lip: not ready$", said, re.MULTILINE)
    assert "python -m gpu_service weights fetch wav2lip_gan" in said
    assert re.search(r"^stop +Ctrl-C.* 30 s ", said, re.MULTILINE)


def test_over_ssh_a_caller_needs_the_token_and_nothing_else(
    served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", "--tunnel", "none"]) == 0
    said = capsys.readouterr().out
    command = re.search(r"ssh -N -L (\d+):(127\.0\.0\.1:9000) USER@THIS-MACHINE", said)
    assert command
    (text,) = re.findall(r"^connection +(\S+)$", said, re.MULTILINE)
    connection = parse_connection(text)
    # Not the host's own port, which a host on the other machine has itself.
    assert connection.url == f"http://localhost:{command[1]}" != "http://localhost:9000"
    assert connection.token == made_token(said)
    with serving(served.apps[-1]) as url, proxy_before(url) as forwarded:
        for host in (f"localhost:{command[1]}", f"127.0.0.1:{forwarded.port}"):
            for token, status in ((connection.token, 200), ("", 401), ("wrong", 401)):
                answer = requests.get(
                    f"{forwarded.url}/engines",
                    headers={"Host": host, "Authorization": f"Bearer {token}"},
                    timeout=TIMEOUT,
                )
                assert answer.status_code == status
        page = {"Host": "localhost", "Origin": "https://elsewhere.example"}
        answer = requests.post(f"{forwarded.url}/render", headers=page, timeout=TIMEOUT)
        assert answer.status_code == 401


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--domain", "a.example"], "only a tunnel by ngrok"),
        (["--tunnel", "none", "--domain", "a.example"], "only a tunnel by ngrok"),
        (["--tunnel", "cloudflared", "--domain", "a.example"], "only a tunnel by ngrok"),
        (["--tunnel", "ngrok", "--domain", "https://a.example/path"], "GPU_TUNNEL_DOMAIN"),
        (["--tunnel", "cloudflared"], "cloudflared is not on this machine"),
    ],
)
def test_what_cannot_be_is_said_before_anything_runs(
    served: Served,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    arguments: list[str],
    sentence: str,
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["serve", *arguments]) == 1
    said = capsys.readouterr()
    assert sentence in said.err
    assert len(said.err.splitlines()) == 2
    assert served.apps == []


class Ready:
    """An opener that opens nothing, but says that it has."""

    def __init__(self, authtoken: str, domain: str) -> None:
        self.url = f"https://{domain or 'some.ngrok-free.dev'}"

    def __call__(self, *_: object) -> "Ready":
        return self

    def fault(self) -> str:
        return ""

    def close(self) -> None:
        pass

    give_up = close


@pytest.mark.parametrize("in_environment", [True, False])
def test_behind_a_tunnel_the_block_says_all_that_is_needed(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    in_environment: bool,
) -> None:
    said = ""

    def run(server: Server) -> None:
        nonlocal said
        server._on_listening(ADDRESS)

        def complete() -> bool:
            nonlocal said
            said += capsys.readouterr().out
            return "Ctrl-C" in said

        wait_until(complete)

    monkeypatch.setattr("gpu_service.serve_cli.Server.run", run)
    monkeypatch.setattr("gpu_service.serve_cli.Ngrok", Ready)
    monkeypatch.setenv("GPU_DATA_DIR", str(tmp_path))
    if in_environment:
        monkeypatch.setenv("GPU_TUNNEL", "ngrok")
        monkeypatch.setenv("GPU_TUNNEL_DOMAIN", "https://Mine.example/")
        assert main(["serve"]) == 0
    else:
        assert main(["serve", "--tunnel", "ngrok", "--domain", "mine.example"]) == 0
    token = made_token(said)
    assert re.search(r"^address +https://mine\.example$", said, re.MULTILINE)
    assert re.search(rf"^connection +lipsync://{token}@mine\.example$", said, re.MULTILINE)
    assert "█" in said
    assert "the same at the next start" in said
