"""A tunnel that is kept open."""

import logging
import threading
from collections.abc import Callable, Iterator
from queue import SimpleQueue

import pytest

from contracts.errors import TunnelFailed
from gpu_service.tunnel.base import Unopened
from gpu_service.tunnel.keeper import TunnelKeeper
from tests.processes import wait_until

UPSTREAM = "http://127.0.0.1:9000"
LONGEST_WAIT_SECONDS = 30
NEVER = 3600.0


class Tunnel:
    def __init__(self, url: str, on_end: Callable[[], None]) -> None:
        self.url = url
        self.broken = ""
        self.closed = threading.Event()
        self._on_end = on_end

    def fault(self) -> str:
        return self.broken

    def close(self) -> None:
        self.closed.set()

    def end(self) -> None:
        """Break, and tell of it."""
        self.broken = "it ended"
        self._on_end()


class Opener:
    """Opens what the test puts there, one after the other: an address, or why there is none."""

    def __init__(self) -> None:
        self.next: SimpleQueue[str | Unopened] = SimpleQueue()
        self.opened: SimpleQueue[Tunnel] = SimpleQueue()
        self.upstreams: list[str] = []

    def __call__(self, upstream: str, on_end: Callable[[], None]) -> Tunnel:
        self.upstreams.append(upstream)
        told = self.next.get(timeout=LONGEST_WAIT_SECONDS)
        if isinstance(told, Unopened):
            raise told
        tunnel = Tunnel(told, on_end)
        self.opened.put(tunnel)
        return tunnel

    def give_up(self) -> None:
        self.next.put(refusal(final=True))


class Kept:
    """A keeper and what it tells."""

    def __init__(self, watch_seconds: float = NEVER) -> None:
        self.open = Opener()
        self.addresses: SimpleQueue[str] = SimpleQueue()
        self.failures: SimpleQueue[TunnelFailed] = SimpleQueue()
        self.keeper = TunnelKeeper(
            self.open,
            self.addresses.put,
            self.failures.put,
            watch_seconds=watch_seconds,
            pause_seconds=0.001,
        )

    def start(self, *told: str | Unopened) -> None:
        for each in told:
            self.open.next.put(each)
        self.keeper.start(UPSTREAM)

    def address(self) -> str:
        return self.addresses.get(timeout=LONGEST_WAIT_SECONDS)

    def tunnel(self) -> Tunnel:
        return self.open.opened.get(timeout=LONGEST_WAIT_SECONDS)


def refusal(*, final: bool) -> Unopened:
    return Unopened(TunnelFailed("the account is full", hint="Empty it."), final=final)


@pytest.fixture
def kept() -> Iterator[Kept]:
    each = Kept()
    yield each
    each.keeper.close()


def test_the_address_is_told_once_it_is_open_and_given_back_at_the_end(kept: Kept) -> None:
    kept.start("https://one.example")
    assert kept.address() == "https://one.example"
    assert kept.open.upstreams == [UPSTREAM]
    tunnel = kept.tunnel()
    assert not tunnel.closed.is_set()
    kept.keeper.close()
    assert tunnel.closed.is_set()
    assert kept.failures.empty()


def test_a_tunnel_that_ends_is_opened_again_and_the_same_address_is_not_told_twice(
    kept: Kept, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    kept.start("https://one.example", "https://one.example", "https://two.example")
    assert kept.address() == "https://one.example"
    for _ in range(2):
        tunnel = kept.tunnel()
        tunnel.end()
        assert tunnel.closed.wait(LONGEST_WAIT_SECONDS)
    assert kept.address() == "https://two.example"
    assert kept.addresses.empty()
    assert "at the same address" in caplog.text
    assert "the tunnel broke: it ended" in caplog.text


def test_a_tunnel_that_breaks_in_silence_is_found() -> None:
    kept = Kept(watch_seconds=0.001)
    kept.start("https://one.example", "https://two.example")
    assert kept.address() == "https://one.example"
    kept.tunnel().broken = "nobody said so"
    assert kept.address() == "https://two.example"
    kept.keeper.close()


def test_it_tries_again_until_it_is_open(kept: Kept, caplog: pytest.LogCaptureFixture) -> None:
    kept.start(*[refusal(final=False)] * 5, "https://one.example")
    assert kept.address() == "https://one.example"
    assert kept.failures.empty()
    assert "the account is full. Empty it." in caplog.text


def test_what_only_a_person_can_mend_is_told_at_the_start(kept: Kept) -> None:
    kept.start(refusal(final=True))
    assert kept.failures.get(timeout=LONGEST_WAIT_SECONDS).detail == "the account is full"
    assert kept.addresses.empty()
    kept.keeper.close()
    assert len(kept.open.upstreams) == 1


def test_once_it_was_open_nothing_is_final(kept: Kept) -> None:
    kept.start("https://one.example", refusal(final=True), "https://two.example")
    assert kept.address() == "https://one.example"
    kept.tunnel().end()
    assert kept.address() == "https://two.example"
    assert kept.failures.empty()


def test_pauses_grow_and_have_a_limit(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(kept.keeper._closing, "wait", pauses.append)
    monkeypatch.setattr(kept.keeper, "_pause", 1.0)
    kept.start(*[refusal(final=False)] * 9, "https://one.example")
    assert kept.address() == "https://one.example"
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_a_keeper_that_is_closed_waits_for_no_tunnel_and_tells_of_no_failure(kept: Kept) -> None:
    kept.start()
    wait_until(lambda: kept.open.upstreams)
    kept.keeper.close()
    assert kept.failures.empty()
    assert kept.addresses.empty()


def test_a_keeper_that_never_began_ends() -> None:
    Kept().keeper.close()
