"""Connections to a GPU host: they can be cut, notice uploads that stand still, and are counted."""

import errno
import http.client
import io
import socket
import ssl
import threading
from contextlib import suppress
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.response import HTTPResponse

from backend.gpu.traffic import CountedReader, TrafficCount

UNSENT_BYTES = 64 * 1024
"""So much of an upload may wait in this machine for the network. Systems keep megabytes, behind
which a tunnel that has stalled would look alive for minutes."""
_UNSENT_OPTION: int | None = getattr(socket, "TCP_NOTSENT_LOWAT", None)


class Wire(HTTPAdapter):
    """Connections that another thread can cut, whatever they wait for.

    Args:
        stall_seconds: An answer that has begun may be silent for so long, and an upload stand
            still.
    """

    def __init__(self, stall_seconds: float) -> None:
        self._stall_seconds = stall_seconds
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._cut = False
        self.count = TrafficCount()
        """What passes over its connections."""
        super().__init__()

    def cut(self) -> None:
        """Break every connection, also those that are only being opened."""
        with self._lock:
            self._cut = True
            for each in self._sockets:
                # The plain socket's own method: that of a TLS socket is not safe while another
                # thread reads from it.
                with suppress(OSError):
                    socket.socket.shutdown(each, socket.SHUT_RDWR)

    def opened(self, opened: object) -> None:
        """A connection stands."""
        if isinstance(opened, socket.socket):
            if _UNSENT_OPTION is not None:
                with suppress(OSError):
                    opened.setsockopt(socket.IPPROTO_TCP, _UNSENT_OPTION, UNSENT_BYTES)
            with self._lock:
                self._sockets = [each for each in self._sockets if each.fileno() >= 0]
                self._sockets.append(opened)
        if self._cut:
            self.cut()

    def sending(self, sender: object) -> None:
        """A piece of a request is about to leave; without this, the time for connecting counts."""
        if isinstance(sender, socket.socket):
            with suppress(OSError):
                sender.settimeout(self._stall_seconds)

    def answered(self, answering: object) -> None:
        """An answer has begun on a connection."""
        if isinstance(answering, socket.socket):
            with suppress(OSError):
                answering.settimeout(self._stall_seconds)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Open connections through this adapter."""
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _pools(self)

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        """Open connections to proxies through this adapter, too."""
        manager = super().proxy_manager_for(*args, **kwargs)
        manager.pool_classes_by_scheme = _pools(self)
        return manager


def _pools(wire: Wire) -> dict[str, type[HTTPConnectionPool]]:
    class Answer(http.client.HTTPResponse):
        def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
            super().__init__(sock, *args, **kwargs)
            # Nothing has been read yet, so that the buffer which is let go of is empty.
            self.fp = io.BufferedReader(CountedReader(self.fp.detach(), wire.count))

    class Plain(HTTPConnection):
        response_class = Answer

        def connect(self) -> None:
            super().connect()
            wire.opened(self.sock)

        def send(self, data: Any) -> None:
            if self.sock is None:
                self.connect()
            wire.sending(self.sock)
            if isinstance(data, bytes | bytearray | memoryview):  # as urllib3 sends all of it
                wire.count.sent(len(data))
            try:
                super().send(data)
            except (ssl.SSLEOFError, ssl.SSLZeroReturnError) as error:
                # How a connection that breaks while it is written to shows itself under TLS; as an
                # error of TLS it would pass for a host that can't be reached at all.
                raise ConnectionResetError(errno.ECONNRESET, "the connection broke") from error

        def getresponse(self) -> HTTPResponse:  # type: ignore[override]  # as urllib3 has it
            sock = self.sock  # let go of when the answer is the connection's last
            answer = super().getresponse()
            wire.answered(sock)
            return answer

    class Secure(Plain, HTTPSConnection):
        pass

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = Secure

    return {"http": PlainPool, "https": SecurePool}
