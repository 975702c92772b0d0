"""A loopback TCP proxy whose connections can be cut, stalled, refused, and let pass again."""

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER for a close that the other side sees as a reset, as when a machine is gone."""


class Proxy:
    """Passes bytes between callers and a target, as long as it is not told otherwise.

    Args:
        target: Host and port.
        bytes_per_second: How fast answers pass; None as fast as they come.
    """

    def __init__(self, target: tuple[str, int], bytes_per_second: float | None = None) -> None:
        self.target = target
        self._seconds_per_byte = 1 / bytes_per_second if bytes_per_second else 0.0
        self._flowing = threading.Event()
        self._flowing.set()
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._listener = _bound(0)
        self._listening = False
        self.port: int = self._listener.getsockname()[1]
        self.num_connections = 0
        """How many callers there were."""
        self.go_on()

    @property
    def url(self) -> str:
        """Its address for HTTP."""
        return f"http://127.0.0.1:{self.port}"

    def go_on(self) -> None:
        """Let pass, also what a stall has held up."""
        self._flowing.set()
        if not self._listening:
            self._listening = True
            self._listener.listen()
            _in_thread(self._accept, self._listener)

    def stall(self) -> None:
        """Let nothing pass in either direction, but close nothing."""
        self._flowing.clear()

    def cut(self) -> None:
        """Break all connections; new ones pass."""
        with self._lock:
            gone, self._open = self._open, set()
        for each in gone:
            with suppress(OSError):
                each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def refuse(self) -> None:
        """Break all connections, and take no new ones."""
        self._hang_up()
        # Bound, though not listening, the port stays ours.
        self._listener = _bound(self.port)

    def close(self) -> None:
        """Break all connections, for good."""
        self._hang_up()
        self._flowing.set()

    def _hang_up(self) -> None:
        self._listening = False
        with suppress(OSError):  # wakes who waits for callers
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                caller, _ = listener.accept()
            except OSError:
                return
            self.num_connections += 1
            try:
                target = socket.create_connection(self.target, 5)
            except OSError:
                caller.close()
                continue
            target.settimeout(None)
            with self._lock:
                self._open |= {caller, target}
            _in_thread(self._connect, caller, target)

    def _connect(self, caller: socket.socket, target: socket.socket) -> None:
        back = _in_thread(self._pass_on, target, caller, self._seconds_per_byte)
        self._pass_on(caller, target, 0.0)
        back.join()
        with self._lock:
            self._open -= {caller, target}
        caller.close()
        target.close()

    def _pass_on(self, source: socket.socket, sink: socket.socket, seconds_per_byte: float) -> None:
        pace = threading.Event()
        with suppress(OSError):
            while data := source.recv(2048 if seconds_per_byte else 65_536):
                pace.wait(len(data) * seconds_per_byte)
                self._flowing.wait()
                sink.sendall(data)
            self._flowing.wait()
            sink.shutdown(socket.SHUT_WR)


def _in_thread(run: Callable[..., None], *args: object) -> threading.Thread:
    thread = threading.Thread(target=run, args=args, daemon=True)
    thread.start()
    return thread


def _bound(port: int) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    return listener


@contextmanager
def proxy_before(url: str) -> Iterator[Proxy]:
    """A running proxy before an address such as `http://127.0.0.1:9000`."""
    host, _, port = url.rpartition("/")[2].partition(":")
    proxy = Proxy((host, int(port)))
    try:
        yield proxy
    finally:
        proxy.close()
