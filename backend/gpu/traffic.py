"""Counts what passes over connections to a GPU host, as it is on the wire before TLS."""

import io
import threading
from typing import Any, NamedTuple


class Traffic(NamedTuple):
    """What has passed."""

    requests: int = 0
    sent_bytes: int = 0
    received_bytes: int = 0


class TrafficCount:
    """Counts; every thread that writes or reads may tell it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests = self._sent = self._received = 0

    def asked(self) -> None:
        """A request begins."""
        with self._lock:
            self._requests += 1

    def sent(self, num_bytes: int) -> None:
        """So much was written."""
        with self._lock:
            self._sent += num_bytes

    def received(self, num_bytes: int) -> None:
        """So much was read."""
        with self._lock:
            self._received += num_bytes

    def take(self) -> Traffic:
        """What has passed since this was last asked."""
        with self._lock:
            taken = Traffic(self._requests, self._sent, self._received)
            self._requests = self._sent = self._received = 0
        return taken


class CountedReader(io.RawIOBase):
    """A connection's bytes, counted as they come: heads, chunk marks and all.

    Args:
        raw: What reads from the socket.
        count: Is told.
    """

    def __init__(self, raw: Any, count: TrafficCount) -> None:
        self._raw = raw
        self._count = count

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int | None:
        """What is there, up to the buffer's size."""
        num_bytes: int | None = self._raw.readinto(buffer)
        self._count.received(num_bytes or 0)
        return num_bytes

    def fileno(self) -> int:
        """The socket's."""
        return int(self._raw.fileno())

    def close(self) -> None:
        """Let go of the socket."""
        if not self.closed:
            self._raw.close()
        super().close()
