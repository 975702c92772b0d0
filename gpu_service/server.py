"""The HTTP server of the host, which lets what it renders come to an end before it stops."""

import asyncio
import logging
import math
import signal
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Final

import uvicorn

from gpu_service.routes.runs import Renders

log = logging.getLogger(__name__)

SEND_SECONDS: Final = 5
"""At least so long answers may still be sent once nothing is rendered any more."""


class Server(uvicorn.Server):
    """Serves until it is asked to stop, then drains; asked again, it ends at once.

    Args:
        config: Of uvicorn.
        renders: What is to end first.
        drain_seconds: How long they may take.
        on_listening: Told where it listens, such as `http://127.0.0.1:9000`, once it does.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        renders: Renders,
        drain_seconds: float,
        on_listening: Callable[[str], None],
    ) -> None:
        super().__init__(config)
        self._renders = renders
        self._drain_seconds = drain_seconds
        self._on_listening = on_listening
        self._loop: asyncio.AbstractEventLoop | None = None
        self._draining: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[None] | None = None
        self._asked = False
        self.forced = False
        """Whether it was asked a second time, and has ended with work undone."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen."""
        await super().startup(sockets)
        if self.started:
            self._loop = asyncio.get_running_loop()
            self._hear_hang_up()
            self._on_listening(_address(self.servers[0].sockets[0]))

    def _hear_hang_up(self) -> None:
        """End in order where the terminal is closed, too: a tunnel's agent would outlive us."""
        hang_up = getattr(signal, "SIGHUP", None)
        here = threading.current_thread() is threading.main_thread()
        if hang_up and here and signal.getsignal(hang_up) is signal.SIG_DFL:  # nohup ignores it
            signal.signal(hang_up, self.handle_exit)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal came. It is not kept, to be raised again: a host that drained ended well."""
        del sig, frame
        if self._loop and self._asked:
            self.forced = self.should_exit = self.force_exit = True
            with suppress(RuntimeError):  # it has ended meanwhile
                self._loop.call_soon_threadsafe(self._end_at_once)
        else:
            self.ask_to_end()

    def ask_to_end(self) -> None:
        """Stop once all has been drained; any thread may ask, and any number of times."""
        if self._loop is None:
            self.should_exit = True
        elif not self._asked:
            self._asked = True
            self._loop.call_soon_threadsafe(self._begin_to_drain)

    def _end_at_once(self) -> None:
        if self._ending:
            self._ending.cancel()

    def _begin_to_drain(self) -> None:
        self._draining = asyncio.create_task(self._drain())

    async def _drain(self) -> None:
        num_running = self._renders.running
        if num_running:
            log.info("stopping; %d renders may go on for %g s", num_running, self._drain_seconds)
        loop = asyncio.get_running_loop()
        until = loop.time() + self._drain_seconds
        await self._renders.drain(self._drain_seconds)
        seconds_left = max(SEND_SECONDS, math.ceil(until - loop.time()))
        self.config.timeout_graceful_shutdown = seconds_left
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End, once every caller has been told and every render's thread has ended."""
        self._renders.stop()
        self._ending = asyncio.create_task(super().shutdown(sockets))
        await asyncio.wait([self._ending])
        if not self._ending.cancelled():
            self._ending.result()


def _address(listener: socket.socket) -> str:
    """How this machine itself reaches a socket that listens."""
    host, port = listener.getsockname()[:2]
    own = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared with
    return f"http://[{own}]:{port}" if ":" in own else f"http://{own}:{port}"
