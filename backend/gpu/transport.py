"""HTTP to a GPU host: what is asked there, and what goes wrong as our errors."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.auth import AuthBase
from urllib3.exceptions import (
    NameResolutionError,
    NewConnectionError,
    ProtocolError,
    ReadTimeoutError,
)

from backend.gpu.traffic import Traffic
from backend.gpu.tunnels import READ_BYTES, tunnel_fault
from backend.gpu.wire import Wire
from contracts.catalogue import from_body
from contracts.errors import (
    GpuAnswerBroken,
    GpuRefused,
    GpuTimeout,
    GpuUnreachable,
    LipSyncError,
    MethodNotAllowed,
    NoGpuHost,
    NotFound,
    OriginRefused,
)
from contracts.hosts import is_loopback
from contracts.versions import (
    API_HEADER,
    API_VERSION,
    ApiVersion,
    read_version,
    require_understood,
)

CONNECT_TIMEOUT_SECONDS = 5.0
MAX_ANSWER_BYTES = 4 * 1024 * 1024
"""All answers of a GPU host are shorter, but for records and videos."""
ANSWER_SECONDS = 30.0
"""Nor do they take so long, once they have begun."""
_BROKEN = (requests.exceptions.ChunkedEncodingError, requests.exceptions.ContentDecodingError)
_GOOD = (requests.codes.ok, requests.codes.no_content)
_ELSEWHERE = (NotFound.code, MethodNotAllowed.code, OriginRefused.code)
"""What another service of ours would say at this address."""
JSON = "application/json"

Meter = Callable[[Traffic], None]
"""Is told what has passed, once an answer has ended."""


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
    """A session with the GPU host at one address; what goes wrong on it is an error of ours.

    Args:
        url: Where the host answers.
        session: Asks there, over `wire`.
        wire: Knows what has passed.
        meter: Is told of it, too.
        peer: What is known of the host over all lines to it.
    """

    def __init__(
        self,
        url: str,
        session: requests.Session,
        wire: Wire,
        meter: Meter | None = None,
        peer: Peer | None = None,
    ) -> None:
        self.url = url
        self.peer = peer or Peer()
        self._session = session
        self._wire = wire
        self._meter = meter

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
            VersionMismatch: It speaks another version of the interface.
            TunnelFailed: The tunnel to it answers in its place.
            GpuUnreachable: No GPU host answers.
            GpuTimeout: Its answer does not begin.
            GpuAnswerBroken: The connection broke.
        """
        answer, said = self.exchange(method, path, read_seconds=read_seconds, **request)
        # Other web applications have a page of their own for every address.
        kind = answer.headers.get("Content-Type", "")
        is_good = answer.status_code in _GOOD and not said and kind.startswith(media_type)
        version = answer.headers.get(API_HEADER)
        try:
            if is_good or version is not None:
                self._understand(version)
            if not is_good:
                raise _error(answer, said, self.url)
        except LipSyncError:
            answer.close()
            raise
        return answer

    def exchange(
        self,
        method: str,
        path: str,
        *,
        read_seconds: float = CONNECT_TIMEOUT_SECONDS,
        stream: bool = False,
        **request: Any,
    ) -> tuple[requests.Response, bytes]:
        """One request, and whatever the host answers.

        Returns:
            The answer, and the beginning of its body where that is an error or a web page; else all
            of it has been read, or with `stream` nothing yet.

        Raises:
            TunnelFailed: The tunnel to it answers in its place.
            GpuUnreachable: No GPU host answers.
            GpuTimeout: Its answer does not begin.
            GpuAnswerBroken: The connection broke.
        """
        self.settle()
        self._wire.count.asked()
        with gpu_errors(self.url):
            answer = self._session.request(
                method,
                self.url + path,
                timeout=(CONNECT_TIMEOUT_SECONDS, read_seconds),
                allow_redirects=False,
                stream=True,  # who knows how long a page of others is
                **request,
            )
            try:
                web_page = answer.headers.get("Content-Type", "").startswith("text/html")
                is_good = answer.status_code in _GOOD and not web_page
                said = b"" if is_good else _beginning(answer, READ_BYTES)[0]
                fault = tunnel_fault(answer.status_code, answer.headers, said, self.url)
                if fault is not None:
                    raise fault
                if is_good and not stream:
                    answer._content = self._whole(answer)  # what `content` gives
            except BaseException:
                answer.close()
                raise
        return answer, said

    def _whole(self, answer: requests.Response) -> bytes:
        body, ended = _beginning(answer, MAX_ANSWER_BYTES)
        if not ended:
            raise no_gpu_host(self.url)
        return body

    def settle(self) -> None:
        """Tell the meter what has passed since it was told last."""
        passed = self._wire.count.take()
        if self._meter is not None and any(passed):
            self._meter(passed)

    def _understand(self, header: str | None) -> None:
        version = self.peer.api = read_version(header)
        require_understood(version, other_is=f"the GPU host at {self.url}", we_are="the backend")


@contextmanager
def line_to(
    url: str,
    token: str,
    wire: Wire | None = None,
    meter: Meter | None = None,
    peer: Peer | None = None,
) -> Iterator[Line]:
    """A line to a GPU host, closed with the block.

    Args:
        url: Where it answers.
        token: Its GPU_TOKEN; empty sends none.
        wire: Opens the connections; one of its own where None.
        meter: Is told what has passed.
        peer: Keeps what is known of the host over all lines to it.
    """
    wire = wire or Wire(CONNECT_TIMEOUT_SECONDS)
    with requests.Session() as session:
        session.auth = _Bearer(token)
        # ngrok shows browsers a warning page first; any value of this header skips it.
        session.headers["ngrok-skip-browser-warning"] = "1"
        session.headers[API_HEADER] = str(API_VERSION)
        # A proxy from the environment can't reach this machine's own loopback.
        session.trust_env = not is_loopback(urlsplit(url).hostname or "")
        session.mount("http://", wire)
        session.mount("https://", wire)
        line = Line(url, session, wire, meter, peer)
        try:
            yield line
        finally:
            line.settle()


def _beginning(answer: requests.Response, most: int) -> tuple[bytes, bool]:
    """A body, or what came of it before that was too much or took too long; whether it ended."""
    said = b""
    until = time.monotonic() + ANSWER_SECONDS
    for chunk in answer.iter_content(READ_BYTES):
        said += chunk
        if len(said) >= most or time.monotonic() > until:
            return said, False
    return said, True


def _error(answer: requests.Response, said: bytes, url: str) -> LipSyncError:
    if answer.status_code == requests.codes.unauthorized:
        return GpuRefused(f"the GPU host at {url} refuses the token")
    try:
        body = json.loads(said)
    except ValueError:
        body = None
    if not isinstance(body, dict) or body.get("code") in (None, *_ELSEWHERE):
        return no_gpu_host(url, f"{answer.status_code} ")
    error = from_body(body, answer.status_code)
    retry_after = answer.headers.get("Retry-After", "")
    error.retry_after_seconds = float(retry_after) if retry_after.isdigit() else None
    return error


def no_gpu_host(url: str, said: str = "") -> NoGpuHost:
    """Somebody answers there, but not as a GPU host does."""
    return NoGpuHost(f"what answers {said}at {url} is no GPU host")


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
