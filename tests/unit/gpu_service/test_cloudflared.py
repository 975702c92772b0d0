"""Tunnels by cloudflared, against a stand-in for its program."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from contracts.errors import TunnelFailed
from gpu_service.tunnel.base import Unopened
from gpu_service.tunnel.cloudflared import Cloudflared, CloudflaredTunnel, find_cloudflared
from tests.fakes.cloudflared_program import CloudflaredStandIn
from tests.processes import LONGEST_WAIT_SECONDS, wait_until

UPSTREAM = "http://127.0.0.1:9000"


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CloudflaredStandIn:
    monkeypatch.setenv("PATH", str(tmp_path))
    return CloudflaredStandIn(tmp_path)


class Opened:
    def __init__(self) -> None:
        self.ended = threading.Event()
        self.tunnels: list[CloudflaredTunnel] = []

    def __call__(self, start_seconds: float = 60) -> CloudflaredTunnel:
        open_tunnel = Cloudflared(find_cloudflared(), start_seconds)
        self.tunnels.append(open_tunnel(UPSTREAM, self.ended.set))
        return self.tunnels[-1]


@pytest.fixture
def opened(program: CloudflaredStandIn) -> Iterator[Opened]:
    each = Opened()
    yield each
    for tunnel in each.tunnels:
        tunnel.close()


def test_the_address_is_read_from_what_it_says(program: CloudflaredStandIn, opened: Opened) -> None:
    tunnel = opened()
    assert tunnel.url == "https://four-plain-words-here.trycloudflare.com"
    assert tunnel.fault() == ""
    arguments = program.starts()[0]["arguments"]
    assert arguments == ["tunnel", "--no-autoupdate", "--url", UPSTREAM]


def test_a_tunnel_that_is_closed_has_ended(opened: Opened) -> None:
    tunnel = opened()
    tunnel.close()
    assert opened.ended.is_set()
    assert tunnel.fault()
    tunnel.close()


def test_a_crash_is_heard_at_once(program: CloudflaredStandIn, opened: Opened) -> None:
    tunnel = opened()
    program.crash()
    assert opened.ended.wait(30)
    assert "ended" in tunnel.fault()


def test_what_it_says_of_its_failure_is_told(program: CloudflaredStandIn, opened: Opened) -> None:
    program.want("")
    with pytest.raises(Unopened) as unopened:
        opened()
    assert not unopened.value.final
    assert "failed to request quick Tunnel" in unopened.value.error.detail


def test_a_program_that_names_no_address_is_ended(
    program: CloudflaredStandIn, opened: Opened
) -> None:
    program.want("silent")
    with pytest.raises(Unopened):
        opened(start_seconds=0.01)
    assert opened.ended.is_set()


def test_what_is_given_up_is_ended_at_once_whenever_that_is(
    program: CloudflaredStandIn,
) -> None:
    program.want("silent")
    open_tunnel, ended = Cloudflared(find_cloudflared()), threading.Event()
    with ThreadPoolExecutor() as threads:
        opening = threads.submit(open_tunnel, UPSTREAM, ended.set)
        wait_until(program.running)
        open_tunnel.give_up()
        assert isinstance(opening.exception(LONGEST_WAIT_SECONDS), Unopened)
    with pytest.raises(Unopened):
        open_tunnel(UPSTREAM, ended.set)
    assert program.running() == []


def test_a_program_that_is_none_is_said_plainly(
    program: CloudflaredStandIn, opened: Opened
) -> None:
    program.path.write_text("nothing")
    with pytest.raises(Unopened) as unopened:
        opened()
    assert unopened.value.final
    assert "can't be started" in unopened.value.error.detail


def test_without_the_program_it_is_said_what_else_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(TunnelFailed) as failed:
        find_cloudflared()
    assert "--tunnel ngrok" in failed.value.hint
