"""What the backend asks of a GPU host, over HTTP."""

import json
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import requests
from pydantic import TypeAdapter, ValidationError
from requests.auth import AuthBase
from requests_toolbelt import MultipartEncoder
from urllib3.exceptions import NameResolutionError, NewConnectionError, ReadTimeoutError

from contracts.catalogue import from_body
from contracts.errors import (
    Busy,
    Cancelled,
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
from contracts.lipsync import EngineStatus, LipSyncOptions
from contracts.marks import PhonemeMark
from contracts.records import RECORDS_MEDIA_TYPE, EndRecord, ErrorRecord, Framed, decode_records

log = logging.getLogger(__name__)
T = TypeVar("T")

CONNECT_TIMEOUT_SECONDS = 5.0
MAX_BUSY_ANSWERS = 5
"""How often a busy host is asked again."""
MAX_RETRY_AFTER_SECONDS = 30.0
_BROKEN = (requests.exceptions.ChunkedEncodingError, requests.exceptions.ContentDecodingError)
_ELSEWHERE = (NotFound.code, MethodNotAllowed.code, OriginRefused.code)
_ENGINES = TypeAdapter(list[EngineStatus])
_MARKS = TypeAdapter(list[PhonemeMark])


@dataclass(frozen=True)
class RenderOrder:
    """What one render needs."""

    key: str
    """Names the render, so that asking again joins it."""
    face: Path
    speech: Path
    options: LipSyncOptions
    marks: Sequence[PhonemeMark] | None = None


class _Bearer(AuthBase):
    # An auth object, because a header set by hand loses against a .netrc entry.
    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._token:
            request.headers["Authorization"] = f"Bearer {self._token}"
        return request


class GpuClient:
    """Client of one GPU host; safe to use from several threads."""

    def __init__(self, url: str, token: str, timeout_seconds: float) -> None:
        self.url = url.rstrip("/")
        self._auth = _Bearer(token)
        self._timeout_seconds = timeout_seconds

    def engines(self) -> list[EngineStatus]:
        """The host's engines, in its order.

        Raises:
            GpuUnreachable: The host does not answer.
            GpuRefused: It does not accept our token.
        """
        with self._session() as session, gpu_errors(self.url):
            answer = session.get(f"{self.url}/engines", timeout=CONNECT_TIMEOUT_SECONDS)
            self._check(answer)
            body = answer.content
        try:
            return _ENGINES.validate_json(body)
        except ValidationError as error:
            raise GpuAnswerBroken(f"what answers at {self.url} is no GPU host") from error

    def render(self, order: RenderOrder, stop: threading.Event) -> Iterator[Framed]:
        """Have a face speak.

        A busy host is asked again after the time that it names. Once records flow nothing is
        repeated here, because the caller may have used them.

        Args:
            order: What to render.
            stop: Ends waiting, and the render at its next record.

        Yields:
            The host's records, the last of them an EndRecord.

        Raises:
            LipSyncError: The host's own error, or what went wrong between it and us.
            Cancelled: `stop` was set.
        """
        with ExitStack() as stack:
            session = stack.enter_context(self._session())
            answer = stack.enter_context(
                self._patiently(lambda: self._post_render(session, order), stop)
            )
            yield from self._records(answer, stop)

    def _post_render(self, session: requests.Session, order: RenderOrder) -> requests.Response:
        with order.face.open("rb") as face, order.speech.open("rb") as speech:
            fields: dict[str, Any] = {
                "face": ("face", face, "application/octet-stream"),
                "speech": ("speech", speech, "application/octet-stream"),
                "options": order.options.model_dump_json(),
            }
            if order.marks is not None:
                fields["marks"] = _MARKS.dump_json(list(order.marks)).decode()
            body = MultipartEncoder(fields)
            with gpu_errors(self.url):
                answer = session.post(
                    f"{self.url}/render",
                    data=body,
                    headers={
                        "Accept": RECORDS_MEDIA_TYPE,
                        "Content-Type": body.content_type,
                        "Idempotency-Key": order.key,
                    },
                    timeout=(CONNECT_TIMEOUT_SECONDS, self._timeout_seconds),
                    allow_redirects=False,
                    stream=True,
                )
        self._check(answer)
        return answer

    def _patiently(self, ask: Callable[[], T], stop: threading.Event) -> T:
        for _ in range(MAX_BUSY_ANSWERS):
            try:
                return ask()
            except Busy as busy:
                asked = busy.retry_after_seconds
                seconds = min(1.0 if asked is None else asked, MAX_RETRY_AFTER_SECONDS)
                log.info("the GPU host is busy, asking again in %.1f s", seconds)
                if stop.wait(seconds):
                    raise Cancelled("stopped while the GPU host was busy") from busy
        return ask()

    def _records(self, answer: requests.Response, stop: threading.Event) -> Iterator[Framed]:
        with gpu_errors(self.url):
            # A chunk is what one read of the socket gives, so that records come without delay.
            for framed in decode_records(answer.iter_content(chunk_size=None)):
                if stop.is_set():
                    raise Cancelled("stopped while the GPU host was rendering")
                if isinstance(framed.record, ErrorRecord):
                    error = framed.record.error
                    raise from_body(error.model_dump(), error.status)
                yield framed
                if isinstance(framed.record, EndRecord):
                    return
        raise GpuAnswerBroken("the GPU host's answer ended before the video did")

    @contextmanager
    def _session(self) -> Iterator[requests.Session]:
        with requests.Session() as session:
            session.auth = self._auth
            # ngrok shows browsers a warning page first; any value of this header skips it.
            session.headers["ngrok-skip-browser-warning"] = "1"
            # A proxy from the environment can't reach this machine's own loopback.
            session.trust_env = not is_loopback(urlsplit(self.url).hostname or "")
            yield session

    def _check(self, answer: requests.Response) -> None:
        if answer.status_code == requests.codes.ok:
            return
        with answer:
            raise self._error(answer)

    def _error(self, answer: requests.Response) -> LipSyncError:
        if answer.status_code == requests.codes.unauthorized:
            return GpuRefused(f"the GPU host at {self.url} refuses the token")
        try:
            body = json.loads(answer.content)
        except ValueError:
            body = None
        # The last are what another service of ours would say at this address.
        if not isinstance(body, dict) or body.get("code") in (None, *_ELSEWHERE):
            return GpuAnswerBroken(
                f"what answers {answer.status_code} at {self.url} is no GPU host",
                hint="Check BACKEND_GPU_URL and the tunnel.",
            )
        error = from_body(body, answer.status_code)
        retry_after = answer.headers.get("Retry-After", "")
        error.retry_after_seconds = float(retry_after) if retry_after.isdigit() else None
        return error


@contextmanager
def gpu_errors(url: str) -> Iterator[None]:
    """Turn transport failures into ours, so that callers need not know requests."""
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
    reason = getattr(cause, "reason", cause)
    unreachable = (NewConnectionError, NameResolutionError)
    if isinstance(error, requests.ConnectTimeout) or isinstance(reason, unreachable):
        return GpuUnreachable(f"no GPU host answers at {url}")
    if isinstance(error, requests.exceptions.SSLError | requests.exceptions.ProxyError):
        return GpuUnreachable(f"no GPU host answers at {url}: the connection is refused on the way")
    return GpuAnswerBroken("the GPU host broke the connection")
