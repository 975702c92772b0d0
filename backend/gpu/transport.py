"""HTTP to a GPU host: connections that can be cut, and what goes wrong on them as our errors."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import (
    NameResolutionError,
    NewConnectionError,
    ProtocolError,
    ReadTimeoutError,
)
from urllib3.response import HTTPResponse

from contracts.catalogue import from_body
from contracts.errors import (
    GpuAnswerBroken,
    GpuRefused,
    GpuTimeout,
    GpuUnreachable,
    LipSyncError,
    MethodNotAllowed,
    NotFound,
    OriginRefused,
)
from contracts.hosts import is_loopback
from contracts.versions import API_HEADER, ApiVersion, read_version

CONNECT_TIMEOUT_SECONDS = 5.0
_BROKEN = (requests.exceptions.ChunkedEncodingError, requests.exceptions.ContentDecodingError)
_GOOD = (requests.codes.ok, requests.codes.no_content)
_ELSEWHERE = (NotFound.code, MethodNotAllowed.code, OriginRefused.code)
"""What another service of ours would say at this address."""
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
    class Plain(HTTPConnection):
        def connect(self) -> None:
            super().connect()
            wire.opened(self.sock)

        def send(self, data: Any) -> None:
            if self.sock is None:
                self.connect()
            wire.sending(self.sock)
            super().send(data)

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


class _Bearer(AuthBase):
    # An auth object, because a header set by hand loses against a .netrc entry.
    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._token:
            request.headers["Authorization"] = f"Bearer {self._token}"
        return request


class Peer:
    """What is known of a GPU host over all lines to it."""

    api: ApiVersion | None = None
    """The version of the interface that its latest answer named; None before any."""


class Line:
    """A session with the GPU host at one address; what goes wrong on it is an error of ours."""

    def __init__(self, url: str, session: requests.Session, peer: Peer | None = None) -> None:
        self.url = url
        self.peer = peer or Peer()
        self._session = session

    def ask(
        self,
        method: str,
        path: str,
        *,
        read_seconds: float = CONNECT_TIMEOUT_SECONDS,
        media_type: str = "",
        **request: Any,
    ) -> requests.Response:
        """One request and its answer, which is what was asked for.

        Raises:
            LipSyncError: The host's own error.
            GpuRefused: It does not accept our token.
            GpuUnreachable: No GPU host answers.
            GpuTimeout: Its answer does not begin.
            GpuAnswerBroken: The connection broke.
        """
        with gpu_errors(self.url):
            answer = self._session.request(
                method,
                self.url + path,
                timeout=(CONNECT_TIMEOUT_SECONDS, read_seconds),
                allow_redirects=False,
                **request,
            )
            # Other web applications have a page of their own for every address.
            kind = answer.headers.get("Content-Type", "")
            if answer.status_code not in _GOOD or not kind.startswith(media_type):
                with answer:
                    raise _error(answer, self.url)
        self.peer.api = read_version(answer.headers.get(API_HEADER))
        return answer


@contextmanager
def line_to(
    url: str, token: str, wire: Wire | None = None, peer: Peer | None = None
) -> Iterator[Line]:
    """A line to a GPU host, closed with the block."""
    with requests.Session() as session:
        session.auth = _Bearer(token)
        # ngrok shows browsers a warning page first; any value of this header skips it.
        session.headers["ngrok-skip-browser-warning"] = "1"
        # A proxy from the environment can't reach this machine's own loopback.
        session.trust_env = not is_loopback(urlsplit(url).hostname or "")
        if wire is not None:
            session.mount("http://", wire)
            session.mount("https://", wire)
        yield Line(url, session, peer)


def _error(answer: requests.Response, url: str) -> LipSyncError:
    if answer.status_code == requests.codes.unauthorized:
        return GpuRefused(f"the GPU host at {url} refuses the token")
    try:
        body = json.loads(answer.content)
    except ValueError:
        body = None
    if not isinstance(body, dict) or body.get("code") in (None, *_ELSEWHERE):
        return no_gpu_host(url, f"{answer.status_code} ")
    error = from_body(body, answer.status_code)
    retry_after = answer.headers.get("Retry-After", "")
    error.retry_after_seconds = float(retry_after) if retry_after.isdigit() else None
    return error


def no_gpu_host(url: str, said: str = "") -> GpuUnreachable:
    """Somebody answers there, but not as a GPU host does."""
    return GpuUnreachable(
        f"what answers {said}at {url} is no GPU host",
        hint="Check BACKEND_GPU_URL and the tunnel.",
    )


@contextmanager
def gpu_errors(url: str) -> Iterator[None]:
    """Turn transport failures into ours, so that callers need not know requests.

    Raises:
        GpuUnreachable: No connection came about.
        GpuTimeout: It was silent for too long.
        GpuAnswerBroken: It broke.
    """
    try:
        yield
    except requests.ConnectionError as error:
        raise _translate(error, url) from error
    except requests.Timeout as error:
        raise GpuTimeout(f"the GPU host at {url} stopped answering") from error
    except _BROKEN as error:
        raise GpuAnswerBroken("the GPU host stopped in the middle of its answer") from error
    except requests.RequestException as error:
        raise GpuUnreachable(f"{url} is no address of a GPU host") from error


def _translate(error: requests.ConnectionError, url: str) -> LipSyncError:
    cause: object = error.args[0] if error.args else None
    if isinstance(cause, ReadTimeoutError):  # how requests reports silence within a body
        return GpuTimeout(f"the GPU host at {url} stopped answering")
    if isinstance(cause, ProtocolError) and any(
        isinstance(each, TimeoutError) for each in cause.args
    ):
        return GpuTimeout(f"nothing more can be sent to the GPU host at {url}")
    reason = getattr(cause, "reason", cause)
    unreachable = (NewConnectionError, NameResolutionError)
    if isinstance(error, requests.ConnectTimeout) or isinstance(reason, unreachable):
        return GpuUnreachable(f"no GPU host answers at {url}")
    if isinstance(error, requests.exceptions.SSLError | requests.exceptions.ProxyError):
        return GpuUnreachable(f"no GPU host answers at {url}: the connection is refused on the way")
    return GpuAnswerBroken("the GPU host broke the connection")
