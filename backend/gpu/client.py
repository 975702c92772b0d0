"""What the backend asks of a GPU host, over HTTP."""

import logging
from collections.abc import Generator
from contextlib import AbstractContextManager
from http import HTTPStatus
from typing import Final, TypeVar
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from backend.gpu.rendering import OnRestart, Patience, Rendering, RenderOrder
from backend.gpu.stop import Stop
from backend.gpu.transport import JSON, Line, Meter, Peer, line_to, no_gpu_host
from backend.gpu.uploads import OnSent, Transfers, told_nothing
from backend.gpu.wire import Wire
from backend.staging.fragments import Fragments
from contracts.errors import LipSyncError, RenderNotFound
from contracts.hosts import is_loopback
from contracts.lipsync import EngineStatus
from contracts.records import Framed
from contracts.versions import API_HEADER

log = logging.getLogger(__name__)
T = TypeVar("T")

PLAIN_PATH: Final = "/run-wav2lip"
"""All that a plain host serves."""

_ENGINES = TypeAdapter(list[EngineStatus])


class HostHealth(BaseModel):
    """What a GPU host says of itself; hosts of other versions may say less or more."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    device: str = ""
    """What its engines run on."""
    engines_ready: tuple[str, ...]
    """Names of the engines that can render now."""
    renders_running: int = 0
    renders_max: int = 1
    """How many it makes at the same time."""
    renders_waiting: int = 0
    engines_loading: tuple[str, ...] = ()
    """Names of those that are being loaded."""
    api: str = ""
    """Version of the interface that it speaks."""
    version: str = ""
    """Version of its program."""
    draining: bool = False
    """Whether it is being stopped, and takes no new renders."""

    def same_engines(self, before: "HostHealth | None") -> bool:
        """Whether nothing is told that its list of engines would say more of than before."""
        return before is not None and (
            (before.engines_ready, before.engines_loading, before.device, before.version)
            == (self.engines_ready, self.engines_loading, self.device, self.version)
        )


_HEALTH = TypeAdapter(HostHealth)


class GpuClient:
    """Client of one GPU host; safe to use from several threads.

    Args:
        url: Where it answers.
        token: Its GPU_TOKEN.
        timeout_seconds: How long resuming a render is tried while nothing new comes.
        stall_seconds: Silence after which a connection is taken for dead; hosts tell of their
            progress every 2 s.
        pause_seconds: Before the first try to resume; each further pause is longer.
        meter: Is told what passes over the connections.
        far: Whether it is on another machine; None tells by its address.
    """

    def __init__(
        self,
        url: str,
        token: str,
        timeout_seconds: float = 60.0,
        *,
        stall_seconds: float = 10.0,
        pause_seconds: float = 0.25,
        meter: Meter | None = None,
        far: bool | None = None,
    ) -> None:
        self.url = url.rstrip("/")
        self.far = not is_loopback(urlsplit(url).hostname or "") if far is None else far
        """Whether the way there is slow and breaks: large files are sent ahead, and once."""
        self._transfers = Transfers()
        self._peer = Peer()
        self._token = token
        self._meter = meter
        self._patience = Patience(timeout_seconds, stall_seconds, pause_seconds)

    def engines(self) -> list[EngineStatus]:
        """The host's engines, in its order.

        Raises:
            GpuUnreachable: No GPU host answers.
            GpuRefused: It does not accept our token.
        """
        return self._ask("/engines", _ENGINES)

    def health(self) -> HostHealth:
        """How the host does; it tells without a token.

        Raises:
            NoGpuHost: Something else answers there.
            GpuUnreachable: Nothing does.
            VersionMismatch: It speaks another version of the interface.
        """
        return self._ask("/health", _HEALTH)

    def is_plain(self) -> bool:
        """Whether the host, not being one of ours, offers `POST /run-wav2lip` at least.

        Raises:
            GpuUnreachable: Nothing answers there.
        """
        with self._line() as line:
            # Whoever serves only POST there has to say so to GET (RFC 9110, 15.5.6).
            answer, _ = line.exchange("GET", PLAIN_PATH)
            with answer:
                allowed = answer.headers.get("Allow", "").upper().replace(" ", "").split(",")
                offers = answer.status_code == HTTPStatus.METHOD_NOT_ALLOWED and "POST" in allowed
                # Hosts of ours offer it as well.
                return offers and API_HEADER not in answer.headers

    def cancel(self, key: str) -> bool:
        """Have the host stop a render and forget it.

        Returns:
            Whether it knew the render.

        Raises:
            LipSyncError: It could not be told.
        """
        with self._line() as line:
            try:
                line.ask("DELETE", f"/render/{key}")
            except RenderNotFound:
                return False
        return True

    def render(
        self,
        order: RenderOrder,
        fragments: Fragments,
        stop: Stop,
        on_restart: OnRestart,
        on_sent: OnSent = told_nothing,
    ) -> Generator[Framed, None, None]:
        """Have a face speak, and go on with what the host renders already.

        A connection that breaks or stalls is opened again and goes on where it was, also in
        another process that opened the same fragments. Where the host does not know the render any
        more, the fragments start over.

        Args:
            order: What to render.
            fragments: Take the video; a record is in them before it is yielded.
            stop: Ends it at any moment, and the host's work, too, unless it was detached.
            on_restart: Is told when the host died in the middle, before the render begins anew.
                What it raises ends the render.
            on_sent: Is told of bytes that leave for a host that is far, of how many in all, before
                the first record; often.

        Yields:
            Progress, events, and what was new to the fragments, at last an EndRecord; that alone
            where the fragments are complete already. An event of ours, `LOST`, each time that the
            connection is.

        Raises:
            LipSyncError: The host's own error; the next call has it render anew.
            EngineBusy: It was busy each time it was asked.
            GpuUnreachable: Nobody is there, or the connection can't be resumed.
            GpuTimeout: The host is silent, each time it is asked.
            Cancelled: `stop` was set.
        """
        wire = Wire(self._patience.stall_seconds)
        ended = False
        try:
            with self._line(wire) as line, stop.cutting(wire.cut):
                yield from Rendering(
                    line,
                    order,
                    fragments,
                    self._patience,
                    stop,
                    on_restart,
                    on_sent,
                    self._transfers if self.far else None,
                ).records()
            ended = True
        finally:
            if stop.is_set() and not (ended or stop.detached):
                try:
                    fragments.abandon()  # fails where the job and its files were deleted
                finally:
                    self._try_to_cancel(order.key)

    def _try_to_cancel(self, key: str) -> None:
        try:
            self.cancel(key)
        except LipSyncError as error:
            # It stops by itself when nobody has listened for a minute.
            log.warning("the GPU host could not be told to stop %s: %s", key, error.detail)

    def _line(self, wire: Wire | None = None) -> AbstractContextManager[Line]:
        return line_to(self.url, self._token, wire, self._meter, self._peer)

    def _ask(self, path: str, kind: TypeAdapter[T]) -> T:
        with self._line() as line:
            body = line.ask("GET", path, media_type=JSON).content
        try:
            return kind.validate_json(body)
        except ValidationError as error:
            raise no_gpu_host(self.url) from error
