"""The GPU host as a process of its own, as a person starts and stops it."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import requests

from contracts.errors import GpuAnswerBroken
from contracts.hosts import parse_connection
from contracts.records import (
    RECORDS_MEDIA_TYPE,
    EndRecord,
    ErrorRecord,
    MediaRecord,
    Record,
    decode_records,
)
from tests.fakes.cloudflared_program import CloudflaredStandIn
from tests.fakes.ngrok_agent import DEV_DOMAIN, GOOD, NgrokStandIn
from tests.media import SAMPLES, tone, wav
from tests.processes import wait_until

REPOSITORY = Path(__file__).parents[2]
TIMEOUT = 60
PORTRAIT = (SAMPLES / "portrait.jpg").read_bytes()


class Host:
    """A running `python -m gpu_service serve`.

    Args:
        folder: Takes what it says, and its data.
        arguments: Of the command.
        settings: What else it gets in its environment.
    """

    def __init__(self, folder: Path, *arguments: str, **settings: str) -> None:
        self._said, self._logged = folder / "stdout", folder / "stderr"
        own = {"PORT": "0", "HOST": "127.0.0.1", "TOKEN": "", "DATA_DIR": str(folder / "data")}
        environment = {f"GPU_{name}": value for name, value in own.items()}
        with self._said.open("wb") as stdout, self._logged.open("wb") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gpu_service", "serve", *arguments],
                cwd=folder,
                env=os.environ | environment | {"PYTHONPATH": str(REPOSITORY)} | settings,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
            )

    def said(self) -> str:
        """What it has printed."""
        return self._said.read_text(encoding="utf-8")

    def logged(self) -> str:
        """What it has logged."""
        return self._logged.read_text(encoding="utf-8")

    @property
    def url(self) -> str:
        """Where it listens, once it does."""
        return self.wait_for(r"running on (http://\S+)", self.logged)

    def wait_for(self, pattern: str, read: Callable[[], str] | None = None) -> str:
        """Wait for words that it prints, or logs; gives the last group, or all of them."""
        read = read or self.said

        def found() -> re.Match[str] | None:
            return re.search(pattern, read(), re.MULTILINE)

        wait_until(lambda: found() or self.process.poll() is not None)
        match = found()
        assert match, self.said() + self.logged()
        return match[match.lastindex or 0]

    def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to end as a service manager does, and give its exit status."""
        self.process.send_signal(how)
        return self.process.wait(TIMEOUT)


@pytest.fixture
def hosts() -> Iterator[list[Host]]:
    running: list[Host] = []
    yield running
    for host in running:
        host.process.kill()
        host.process.wait()


@pytest.fixture
def agent(tmp_path: Path) -> NgrokStandIn:
    return NgrokStandIn(tmp_path)


def follow(host: Host, seconds: int, at_first_fragment: Callable[[], object]) -> list[Record]:
    answer = requests.post(
        f"{host.url}/render",
        files={"face": PORTRAIT, "speech": wav(tone(seconds, 8_000), 8_000)},
        data={"options": '{"max_height": 384}'},
        headers={"Accept": RECORDS_MEDIA_TYPE},
        stream=True,
        timeout=TIMEOUT,
    )
    records = []
    for framed in decode_records(answer.iter_content(chunk_size=None)):
        records.append(framed.record)
        if isinstance(framed.record, MediaRecord) and framed.record.seq == 1:
            at_first_fragment()
    return records


def test_a_host_that_is_stopped_lets_its_render_end(hosts: list[Host], tmp_path: Path) -> None:
    hosts.append(host := Host(tmp_path, GPU_DRAIN_SECONDS="600"))
    records = follow(host, 8, lambda: host.process.send_signal(signal.SIGTERM))
    end = records[-1]
    assert isinstance(end, EndRecord)
    assert end.report.seconds == pytest.approx(8)
    assert host.process.wait(TIMEOUT) == 0
    assert "1 renders may go on for 600 s" in host.logged()
    assert "Traceback" not in host.logged()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_what_does_not_end_in_time_is_handed_back_and_the_host_ends_in_order(
    hosts: list[Host], tmp_path: Path, how: signal.Signals
) -> None:
    hosts.append(host := Host(tmp_path, GPU_DRAIN_SECONDS="0"))
    last = follow(host, 300, lambda: host.process.send_signal(how))[-1]
    assert isinstance(last, ErrorRecord)
    assert (last.error.code, last.error.retryable) == ("BUSY", True)
    assert host.process.wait(TIMEOUT) == 0
    assert "Traceback" not in host.logged()


def test_a_second_ctrl_c_ends_it_at_once(hosts: list[Host], tmp_path: Path) -> None:
    hosts.append(host := Host(tmp_path, GPU_DRAIN_SECONDS="3600"))

    def twice() -> None:
        host.process.send_signal(signal.SIGINT)
        host.wait_for("may go on", host.logged)
        host.process.send_signal(signal.SIGINT)

    # Whether the caller is still told is chance.
    with suppress(requests.RequestException, GpuAnswerBroken):
        assert isinstance(follow(host, 300, twice)[-1], ErrorRecord)
    assert host.process.wait(TIMEOUT) == 130


def test_a_port_that_is_taken_is_said_and_no_tunnel_is_opened(
    hosts: list[Host], tmp_path: Path, agent: NgrokStandIn
) -> None:
    (tmp_path / "other").mkdir()
    hosts.append(host := Host(tmp_path))
    port = host.url.rpartition(":")[2]
    settings = ngrok(agent) | {"GPU_PORT": port}
    hosts.append(second := Host(tmp_path / "other", "--tunnel", "ngrok", **settings))
    assert second.process.wait(TIMEOUT) != 0
    assert "address already in use" in second.logged()
    assert agent.starts() == []


def ngrok(agent: NgrokStandIn, authtoken: str = GOOD) -> dict[str, str]:
    return {"PYNGROK_NGROK_PATH": str(agent.path), "NGROK_AUTHTOKEN": authtoken}


def test_behind_ngrok_it_is_reached_by_what_it_prints(
    hosts: list[Host], tmp_path: Path, agent: NgrokStandIn
) -> None:
    hosts.append(host := Host(tmp_path, "--tunnel", "ngrok", **ngrok(agent)))
    connection = parse_connection(host.wait_for(r"^connection +(\S+)$"))
    assert connection.url == f"https://{DEV_DOMAIN}"
    for token, status in ((connection.token, 200), ("", 401)):
        headers = {"Authorization": f"Bearer {token}"}
        assert agent.ask(connection.url, "/engines", headers=headers).status_code == status
    assert agent.ask(connection.url, "/health").json()["status"] == "ok"
    assert "█" in host.said()
    for secret in (connection.token, GOOD):
        assert secret not in host.logged()
    assert GOOD not in host.said()
    assert GOOD not in " ".join(agent.starts()[0]["arguments"])
    assert host.end() == 0
    assert agent.running() == []


def connections(host: Host) -> list[str]:
    return re.findall(r"^connection +(\S+)$", host.said(), re.MULTILINE)


def test_a_tunnel_that_drops_comes_back_at_its_address_and_a_new_address_is_printed(
    hosts: list[Host], tmp_path: Path, agent: NgrokStandIn
) -> None:
    arguments = ("--tunnel", "ngrok", "--domain", DEV_DOMAIN)
    hosts.append(host := Host(tmp_path, *arguments, **ngrok(agent)))
    url = host.wait_for(r"^address +(\S+)$")
    agent.crash()
    host.wait_for("open again, at the same address", host.logged)
    assert agent.ask(url, "/health").status_code == 200
    assert len(connections(host)) == 1
    assert {post["url"] for post in agent.posts()} == {f"https://{DEV_DOMAIN}"}
    agent.want(changing_address=True)
    agent.crash()
    wait_until(lambda: len(connections(host)) == 2)
    new = re.findall(r"^address +(\S+)$", host.said(), re.MULTILINE)[-1]
    assert new != url
    assert agent.ask(new, "/health").status_code == 200
    tokens = re.findall(r"^token +(\S+)$", host.said(), re.MULTILINE)
    assert tokens[0] == tokens[1]
    assert host.end() == 0


def test_a_wrong_authtoken_ends_it_with_what_to_do(
    hosts: list[Host], tmp_path: Path, agent: NgrokStandIn
) -> None:
    wrong = "2wrongwrongwrongwrongwrong"
    hosts.append(host := Host(tmp_path, "--tunnel", "ngrok", **ngrok(agent, wrong)))
    assert host.process.wait(TIMEOUT) == 1
    assert "ERR_NGROK_107" in host.logged()
    assert "https://dashboard.ngrok.com/get-started/your-authtoken" in host.logged()
    assert wrong not in host.logged() + host.said()
    assert "Traceback" not in host.logged()


def test_ctrl_c_in_the_terminal_leaves_the_tunnel_open_until_the_render_has_ended(
    hosts: list[Host], tmp_path: Path, agent: NgrokStandIn
) -> None:
    settings = ngrok(agent) | {"GPU_DRAIN_SECONDS": "600"}
    hosts.append(host := Host(tmp_path, "--tunnel", "ngrok", **settings))
    connection = parse_connection(host.wait_for(r"^connection +(\S+)$"))
    answer = agent.ask(
        connection.url,
        "/render",
        "POST",
        files={"face": PORTRAIT, "speech": wav(tone(8, 8_000), 8_000)},
        data={"options": '{"max_height": 384}'},
        headers={
            "Accept": RECORDS_MEDIA_TYPE,
            "Authorization": f"Bearer {connection.token}",
        },
        stream=True,
    )
    last: Record | None = None
    for framed in decode_records(answer.iter_content(chunk_size=None)):
        last = framed.record
        if isinstance(last, MediaRecord) and last.seq == 1:
            os.killpg(host.process.pid, signal.SIGINT)  # as a terminal does
    assert isinstance(last, EndRecord)
    assert host.process.wait(TIMEOUT) == 0
    assert agent.running() == []


def test_behind_cloudflared_the_block_names_its_address(hosts: list[Host], tmp_path: Path) -> None:
    program = CloudflaredStandIn(tmp_path)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    hosts.append(host := Host(tmp_path, "--tunnel", "cloudflared", PATH=path))
    address = host.wait_for(r"^address +(\S+)$")
    assert address == "https://four-plain-words-here.trycloudflare.com"
    assert program.starts()[0]["arguments"][-1] == host.url
    program.want("others")
    program.crash()
    wait_until(lambda: "https://others.trycloudflare.com" in host.said())
    assert host.end() == 0
    assert program.running() == []


def test_a_host_that_is_stopped_while_its_tunnel_opens_leaves_no_program_behind(
    hosts: list[Host], tmp_path: Path
) -> None:
    program = CloudflaredStandIn(tmp_path)
    program.want("silent")
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    hosts.append(host := Host(tmp_path, "--tunnel", "cloudflared", PATH=path))
    wait_until(program.running)
    assert host.end() == 0
    left = program.running()
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert left == []
