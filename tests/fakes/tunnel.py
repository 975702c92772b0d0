"""A loopback tunnel to a GPU host, as bad as one over the internet, which counts what passes.

It is slow, far away, and narrow in both directions; it breaks every few seconds or after so many
bytes, stands still, and answers in place of the host with web pages of its own.
"""

import queue
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from tests.fakes.proxy import Proxy

_HEAD = re.compile(rb"(GET|HEAD|POST|PUT|DELETE) (\S+) HTTP/1\.1\r\n")
_KEY = re.compile(rb"\r\nIdempotency-Key: *(\S+)\r\n", re.IGNORECASE)
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_SKIP = re.compile(rb"\r\nngrok-skip-browser-warning: *\S", re.IGNORECASE)
_LAST_CHUNK = b"0\r\n\r\n"
_PIECE = 4096
_BUFFER_BYTES = 32_768
"""So little waits within the tunnel that what a cut loses is no more than it would be elsewhere."""


def ngrok_page(code: str, status: str) -> bytes:
    """What ngrok's edge answers in place of a host, such as ERR_NGROK_3200 when that is away."""
    page = f"<!DOCTYPE html><html><body>ngrok: {code}</body></html>".encode()
    return (
        f"HTTP/1.1 {status}\r\nContent-Type: text/html\r\nngrok-error-code: {code}\r\n"
        f"Content-Length: {len(page)}\r\nConnection: close\r\n\r\n"
    ).encode() + page


INTERSTITIAL = ngrok_page("ERR_NGROK_6024", "200 OK")
"""What browsers are shown first, and who sends no `ngrok-skip-browser-warning`."""


class _Lane:
    """One direction of the tunnel, which all connections share."""

    def __init__(self, bytes_per_second: float | None) -> None:
        self._seconds_per_byte = 1 / bytes_per_second if bytes_per_second else 0.0
        self._lock = threading.Lock()
        self._free_at = 0.0

    def pass_on(self, num_bytes: int) -> float:
        """When so many bytes have left, if they come now."""
        with self._lock:
            self._free_at = max(self._free_at, time.monotonic())
            self._free_at += num_bytes * self._seconds_per_byte
            return self._free_at


@dataclass(eq=False)
class _Call:
    """One connection through the tunnel."""

    caller: socket.socket
    target: socket.socket
    subject: str = ""
    """What its latest request is about: the key of a render, the hash of a file, else a path."""
    answered: bool = True
    """Whether nothing more comes of the latest answer."""
    awaits_head: bool = False
    left: int | None = None
    """How much comes of an answer whose length is known."""
    sent: int = 0
    cut_after: int | None = None

    def ask(self, head: bytes, path: str) -> None:
        """A request begins."""
        key = _KEY.search(head)
        self.subject = key[1].decode() if key else path.rpartition("/")[2].partition("?")[0]
        self.answered, self.awaits_head, self.left = False, True, None

    def hear(self, data: bytes) -> None:
        """So much comes of the answer."""
        if self.awaits_head:
            head, _, body = data.partition(b"\r\n\r\n")
            length = _LENGTH.search(head + b"\r\n")
            self.awaits_head = False
            self.left = int(length[1]) if length else None
            data = body
        if self.left is not None:
            self.left -= len(data)
            self.answered = self.left <= 0
        else:
            self.answered = data.endswith(_LAST_CHUNK)


@dataclass
class Traffic:
    """What has passed about one subject."""

    num_requests: int = 0
    sent: int = 0
    """Bytes towards the host."""
    received: int = 0


class Tunnel(Proxy):
    """A proxy that treats connections as a bad tunnel does.

    Args:
        target: Host and port.
        latency_seconds: How long each byte is on its way, in either direction.
        bytes_per_second: How many pass in each direction, for all connections together; None as
            many as come.
        cut_every_seconds: How often all connections break.
    """

    def __init__(
        self,
        target: tuple[str, int],
        latency_seconds: float = 0.0,
        bytes_per_second: float | None = None,
        cut_every_seconds: float | None = None,
    ) -> None:
        self._latency_seconds = latency_seconds
        self._up, self._down = _Lane(bytes_per_second), _Lane(bytes_per_second)
        self._calls: set[_Call] = set()
        self._closed = threading.Event()
        self.requests: list[str] = []
        """Method and path of each, in order."""
        self.traffic: dict[str, Traffic] = {}
        """By subject."""
        self.cuts: Counter[str] = Counter()
        """How many connections broke in the middle of a request or its answer, by subject."""
        self.cut_after: list[int] = []
        """The next connections break after so many bytes towards the host."""
        self.stall_after: int | None = None
        """Once so many bytes have gone towards the host on a connection, nothing passes."""
        self.pages: list[bytes] = []
        """Answers that the next requests get in place of the host's."""
        self.skipped = 0
        """How many requests were given the page for browsers."""
        super().__init__(target)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
        if cut_every_seconds:
            threading.Thread(target=self._cut_again, args=[cut_every_seconds], daemon=True).start()

    def cut(self) -> None:
        """Break all connections; new ones pass."""
        with self._lock:
            self.cuts.update(call.subject for call in self._calls if not call.answered)
        super().cut()

    def close(self) -> None:
        """Break all connections, for good."""
        self._closed.set()
        super().close()

    def _cut_again(self, seconds: float) -> None:
        while not self._closed.wait(seconds):
            self.cut()

    def _connect(self, caller: socket.socket, target: socket.socket) -> None:
        for end in (caller, target):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)
        call = _Call(caller, target, cut_after=self.cut_after.pop(0) if self.cut_after else None)
        with self._lock:
            self._calls.add(call)
        back = threading.Thread(target=self._carry, args=[call, target, caller], daemon=True)
        back.start()
        self._carry(call, caller, target)
        back.join()
        with self._lock:
            self._calls.discard(call)
            self._open -= {caller, target}
        caller.close()
        target.close()

    def _carry(self, call: _Call, source: socket.socket, sink: socket.socket) -> None:
        """Take what comes at the lane's pace; another thread delivers it when it has arrived."""
        up = source is call.caller
        lane = self._up if up else self._down
        on_its_way: queue.Queue[tuple[float, bytes]] = queue.Queue()
        deliver = threading.Thread(target=self._deliver, args=[on_its_way, sink], daemon=True)
        deliver.start()
        with suppress(OSError):
            while data := source.recv(_PIECE):
                if up and not self._admit(call, data):
                    while source.recv(_PIECE):  # else the answer would be lost with the rest
                        pass
                    break
                left_at = lane.pass_on(len(data))
                self._closed.wait(max(0.0, left_at - time.monotonic()))
                self._flowing.wait()
                self._note(call, data, up=up)
                on_its_way.put((left_at + self._latency_seconds, data))
        on_its_way.put((time.monotonic() + self._latency_seconds, b""))
        deliver.join()

    def _deliver(self, on_its_way: "queue.Queue[tuple[float, bytes]]", sink: socket.socket) -> None:
        with suppress(OSError):
            while True:
                arrives_at, data = on_its_way.get()
                self._closed.wait(max(0.0, arrives_at - time.monotonic()))
                self._flowing.wait()
                if not data:
                    sink.shutdown(socket.SHUT_WR)
                    return
                sink.sendall(data)

    def _admit(self, call: _Call, data: bytes) -> bool:
        """Whether what a caller sends goes to the host."""
        head = _HEAD.match(data)
        if head is None:
            return True
        page = self.pages.pop(0) if self.pages else b""
        if not page and not _SKIP.search(data):
            self.skipped += 1
            page = INTERSTITIAL
        if page:
            call.caller.sendall(page)
            return False
        path = head[2].decode()
        with self._lock:
            call.ask(data, path)
            traffic = self.traffic.setdefault(call.subject, Traffic())
            traffic.num_requests += 1
            self.requests.append(f"{head[1].decode()} {path}")
        return True

    def _note(self, call: _Call, data: bytes, *, up: bool) -> None:
        with self._lock:
            traffic = self.traffic.setdefault(call.subject, Traffic())
            if up:
                traffic.sent += len(data)
                call.sent += len(data)
            else:
                traffic.received += len(data)
                call.hear(data)
        if up and call.cut_after is not None and call.sent >= call.cut_after:
            call.cut_after = None
            self.cut()
        if up and self.stall_after is not None and call.sent >= self.stall_after:
            self.stall_after = None
            self.stall()


@contextmanager
def tunnel_to(url: str, **manners: float) -> Iterator[Tunnel]:
    """A running tunnel to an address such as `http://127.0.0.1:9000`."""
    host, _, port = url.rpartition("/")[2].partition(":")
    tunnel = Tunnel((host, int(port)), **manners)
    try:
        yield tunnel
    finally:
        tunnel.close()
