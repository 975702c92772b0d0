"""Keeps a tunnel open: watches it, and opens it again after growing pauses."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from contracts.errors import TunnelFailed
from gpu_service.tunnel.base import Opener, Tunnel, Unopened

log = logging.getLogger(__name__)

WATCH_SECONDS: Final = 5.0
"""How often it is looked whether the tunnel still stands."""
FIRST_PAUSE_SECONDS: Final = 1.0
MAX_PAUSE_SECONDS: Final = 60.0
CLOSE_SECONDS: Final = 10.0
"""So long it is waited for a tunnel to be given back."""


class TunnelKeeper:
    """One tunnel at a time, looked after in a thread of its own; what it leads to never waits.

    Args:
        open_tunnel: Opens one.
        on_address: Told the public address, when it is the first or has changed.
        on_failure: Told why the first tunnel can't be opened, where it is in vain to try again;
            then the keeper has ended. Later it tries for ever.
        watch_seconds: How often the tunnel is looked at; it may tell of its end before that.
        pause_seconds: Before it is opened again; each further pause is twice as long.
    """

    def __init__(
        self,
        open_tunnel: Opener,
        on_address: Callable[[str], None],
        on_failure: Callable[[TunnelFailed], None],
        *,
        watch_seconds: float = WATCH_SECONDS,
        pause_seconds: float = FIRST_PAUSE_SECONDS,
    ) -> None:
        self._open = open_tunnel
        self._on_address, self._on_failure = on_address, on_failure
        self._watch_seconds = watch_seconds
        self._first_pause = self._pause = pause_seconds
        self._address = ""
        self._news = threading.Event()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, upstream: str) -> None:
        """Open a tunnel that leads there; returns at once."""
        self._thread = threading.Thread(
            target=self._keep, args=[upstream], name="tunnel", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Give the tunnel back."""
        self._closing.set()
        self._news.set()
        self._open.give_up()
        if self._thread:
            self._thread.join(CLOSE_SECONDS)

    def _keep(self, upstream: str) -> None:
        while not self._closing.is_set():
            try:
                tunnel = self._open(upstream, self._news.set)
            except Unopened as unopened:
                if self._closing.is_set():
                    return
                if unopened.final and not self._address:
                    self._on_failure(unopened.error)
                    return
                error = unopened.error
                log.warning("no tunnel: %s. %s", error.detail, error.hint)
            else:
                opened_at = time.monotonic()
                try:
                    self._watch(tunnel)
                finally:
                    tunnel.close()
                if time.monotonic() - opened_at > MAX_PAUSE_SECONDS:
                    self._pause = self._first_pause
            self._closing.wait(self._pause)
            self._pause = min(2 * self._pause, MAX_PAUSE_SECONDS)

    def _watch(self, tunnel: Tunnel) -> None:
        """Returns when the tunnel has broken, or is wanted no longer."""
        if tunnel.url == self._address:
            log.info("the tunnel is open again, at the same address")
        else:
            self._address = tunnel.url
            self._on_address(tunnel.url)
        while not self._closing.is_set():
            self._news.wait(self._watch_seconds)
            self._news.clear()
            fault = tunnel.fault()
            if fault and not self._closing.is_set():
                log.warning("the tunnel broke: %s", fault)
                return
