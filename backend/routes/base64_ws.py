"""The base64 socket: face and speech come as text in one message, the video goes as text too."""

import asyncio
import base64
import binascii
import json
import logging
import re
import traceback
from collections import deque
from collections.abc import Awaitable
from contextlib import ExitStack, aclosing, suppress
from tempfile import SpooledTemporaryFile
from typing import IO, Annotated, Any, Final, NamedTuple, TypeVar

from fastapi import APIRouter, WebSocket, WebSocketDisconnect
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool

from backend.dependencies import Services, ServicesDep
from backend.generation import Wish
from backend.jobs.job import Job
from backend.routes.errors import problem, translate, unforeseen
from contracts.catalogue import from_body
from contracts.errors import (
    Busy,
    Cancelled,
    InvalidInput,
    JobEnded,
    JobNotFound,
    LipSyncError,
    MediaExpired,
    MediaTooLarge,
)
from contracts.jobs import JobState, JobView
from contracts.lipsync import LipSyncOptions

log = logging.getLogger(__name__)
router = APIRouter()
T = TypeVar("T")

PIECE_CHARACTERS: Final = 1 << 20
"""So much is decoded at a time: what comes from one message is as large again only on disk."""
SERVICE_RESTART: Final = 1012
"""The close code of a server that is being stopped."""

_DATA_URL = re.compile(r"\s*data:([^,]{0,200}),")
_SHOWN = ("state", "stage", "reason", "progress", "media_seconds", "seconds_left")


class SocketRequest(BaseModel):
    """One message: a face, and a recording or a text that it shall say."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    image_base64: str
    """Photo or video of a face; base64, or a data URL."""
    audio_base64: str | None = None
    """Speech; base64, or a data URL. Give either this or a text."""
    text: str = ""
    """What to say."""
    voice: str | None = None
    language: str | None = None
    options: LipSyncOptions = LipSyncOptions()
    progress: bool = False
    """Whether to tell of progress before the video."""
    keep: bool = False
    """Whether the job goes on when the socket is closed."""
    idempotency_key: Annotated[str | None, Field(pattern=r"^[A-Za-z0-9._~-]{1,128}$")] = None
    """A repeat with the same key gets the same job."""


class _Order(NamedTuple):
    """What is remembered of a request while its job is made: not its media."""

    job_id: str
    progress: bool
    keep: bool


class _Peer:
    """The other end: what it sends next, and that it has hung up."""

    def __init__(self, socket: WebSocket) -> None:
        self.socket = socket
        self.request_id: str = socket.scope["request_id"]
        self.gone: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        """Its close code, once it has hung up."""
        self._inbox: deque[str | bytes | None] = deque()
        self._message: str | bytes | None = None
        self._num_open = 0
        """Messages that were taken and not answered yet."""
        self._answering = False
        self._stirred = asyncio.Event()

    async def listen(self) -> None:
        """Take what it sends, until it hangs up."""
        while (received := await self.socket.receive())["type"] == "websocket.receive":
            text = received.get("text")
            message = received["bytes"] if text is None else text
            # Messages are large: one may wait while another is worked on.
            dropped = self._num_open == 2
            self._inbox.append(None if dropped else message)
            self._num_open += not dropped
            self._stirred.set()
            del received, text, message
        self.gone.set_result(received.get("code", 1006))
        self._stirred.set()

    async def says_more(self) -> bool:
        """Wait for its next message, now that the last is answered; False when it hung up."""
        self._num_open -= self._answering
        while not self._inbox and not self.gone.done():
            self._stirred.clear()
            await self._stirred.wait()
        if not self._inbox:
            return False
        self._message = self._inbox.popleft()
        self._answering = self._message is not None
        return True

    def take(self) -> str | bytes:
        """Its message; nobody else holds it, so that it is gone while a video is made.

        Raises:
            Busy: It was dropped.
        """
        message, self._message = self._message, None
        if message is None:
            raise Busy("one message is worked on and one waits; this one was dropped")
        return message

    async def say(self, text: str) -> None:
        """Send it a message, unless it has hung up."""
        try:
            if not self.gone.done():
                await self.socket.send_text(text)
        except WebSocketDisconnect:
            await self.gone

    async def unless_gone(self, wanted: Awaitable[T]) -> T | None:
        """What is waited for; None when the peer hung up before."""
        task = asyncio.ensure_future(wanted)
        either: set[asyncio.Future[Any]] = {task, self.gone}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            return task.result() if task.done() else None
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError, LipSyncError):
                await task


@router.websocket("/ws/lipsync")
async def lipsync(socket: WebSocket, services: ServicesDep) -> None:
    """Make videos, one message after the other."""
    num_open = len(services.sockets)
    if num_open >= services.settings.max_sockets:
        busy = Busy(f"{num_open} base64 sockets are open already", retry_after_seconds=30)
        await socket.send_denial_response(problem(busy, socket.scope["request_id"]))
        return
    services.sockets[socket] = ""
    try:
        with services.metrics.listeners.labels("socket").track_inprogress():
            await _serve(_Peer(socket), services)
    finally:
        del services.sockets[socket]


async def _serve(peer: _Peer, services: Services) -> None:
    await peer.socket.accept()
    listening = asyncio.create_task(peer.listen())
    try:
        while await peer.says_more():
            await peer.say(await _answer(peer, services))
    finally:
        listening.cancel()


async def _answer(peer: _Peer, services: Services) -> str:
    """What is said to one message; whatever is wrong with it, the next one may come."""
    about = {}
    try:
        order = await run_in_threadpool(_submit, peer, services)
        about = {"job_id": order.job_id}
        services.sockets[peer.socket] = order.job_id
        view = await peer.unless_gone(_follow(peer, order, services))
        services.sockets[peer.socket] = ""
        if view is None:
            await run_in_threadpool(_hung_up, order, peer.gone.result(), services)
            raise Cancelled("the caller hung up")
        return await run_in_threadpool(_video_message, view, services)
    except LipSyncError as error:
        log.info("%s %s: %s", peer.request_id, error.code, error.detail)
        # They and the error hold each other, and the message, until a garbage collection.
        traceback.clear_frames(error.__traceback__)
        body = error.body(peer.request_id)
    except (OSError, SQLAlchemyError) as fault:
        log.exception("%s failed", peer.request_id)
        traceback.clear_frames(fault.__traceback__)
        body = unforeseen(fault).body(peer.request_id)
    return json.dumps({"error": body.model_dump(mode="json"), **about})


def _submit(peer: _Peer, services: Services) -> _Order:
    try:
        request = SocketRequest.model_validate_json(peer.take())
    except ValidationError as error:
        raise _fault(error) from error
    if peer.gone.done() and not request.keep:
        raise Cancelled("the caller hung up")
    speech, text = request.audio_base64, request.text
    if (speech is None) == (text == ""):
        raise InvalidInput("give either `audio_base64` or `text`", field="audio_base64")
    limit = services.settings.max_upload_bytes
    if num_bytes(request.image_base64) + num_bytes(speech or "") > limit:
        raise MediaTooLarge(f"the message's files have more than {limit / 1_000_000:g} MB together")
    with ExitStack() as files:
        face = files.enter_context(_decoded(request.image_base64, "image_base64"))
        sound = None
        if speech is not None:
            sound = files.enter_context(_decoded(speech, "audio_base64"))
        wish = Wish(
            face=face,
            speech=sound,
            text=text,
            voice=request.voice,
            language=request.language,
            options=request.options,
            idempotency_key=request.idempotency_key,
        )
        try:
            job = services.generation.submit(wish)
        except LipSyncError as error:
            if error.field in ("image", "audio"):
                error.field += "_base64"
            raise
    return _Order(job.id, request.progress, request.keep)


def _fault(error: ValidationError) -> InvalidInput:
    fault: dict[str, Any] = dict(error.errors(include_url=False)[0])
    if fault["type"] == "json_invalid" or not fault["loc"]:
        return InvalidInput(
            f"the message is no JSON object: {fault['msg']}",
            hint='Send text such as {"image_base64": "...", "audio_base64": "..."}.',
        )
    if fault["type"] == "extra_forbidden" and len(fault["loc"]) == 1:
        names = ", ".join(SocketRequest.model_fields)
        return InvalidInput(
            f"there is no field {str(fault['loc'][0])[:40]!r}", hint=f"The fields are {names}."
        )
    return translate([{**fault, "loc": ("body", *fault["loc"])}])


def num_bytes(text: str) -> int:
    """How much a text holds, without decoding it."""
    return (len(text) - sum(map(text.count, " \t\r\n"))) * 3 // 4


def _decoded(text: str, field: str) -> IO[bytes]:
    """The file that a text holds."""
    url = _DATA_URL.match(text)
    if url is not None and not url[1].endswith(";base64"):
        raise _not_base64(field, "it is a data URL of another kind")
    begin = url.end() if url is not None else 0
    file: IO[bytes] = SpooledTemporaryFile(max_size=PIECE_CHARACTERS)  # noqa: SIM115 - returned
    try:
        rest = ""
        for start in range(begin, len(text), PIECE_CHARACTERS):
            piece = rest + "".join(text[start : start + PIECE_CHARACTERS].split())
            # What may be the end is kept back: padding is right there, and only there.
            whole = max(0, len(piece) - 1) // 4 * 4
            rest = piece[whole:]
            if "=" in piece[:whole]:
                raise binascii.Error("padding in the middle")
            file.write(base64.b64decode(piece[:whole], validate=True))
        file.write(base64.b64decode(rest + "=" * (-len(rest) % 4), validate=True))
        if file.tell() == 0:
            raise binascii.Error("it is empty")
    except ValueError as error:
        file.close()
        raise _not_base64(field, str(error)) from error
    file.seek(0)
    return file


def _not_base64(field: str, why: str) -> InvalidInput:
    return InvalidInput(
        f"{field} is no base64: {why}",
        hint="Send the file's bytes as base64, or as data:...;base64,...",
        field=field,
    )


async def _follow(peer: _Peer, order: _Order, services: Services) -> JobView:
    async with aclosing(services.changes.follow(order.job_id)) as views:
        async for view in views:
            if order.progress:
                shown = view.model_dump(mode="json", include=set(_SHOWN))
                await peer.say(json.dumps({"progress": {"job_id": view.id, **shown}}))
    return view


def _hung_up(order: _Order, code: int, services: Services) -> None:
    # A backend that is being stopped has closed the socket itself; its jobs go on afterwards.
    if order.keep or code == SERVICE_RESTART or order.job_id in services.sockets.values():
        return
    with suppress(JobEnded, JobNotFound):
        services.jobs.update(order.job_id, Job.cancel)
        log.info("job %s: cancelled, because its caller hung up", order.job_id)


def _video_message(view: JobView, services: Services) -> str:
    if view.error is not None:
        raise from_body(view.error.model_dump(), view.error.status)
    if not view.state.final:
        raise Busy(f"the backend was stopped; job {view.id} goes on when it runs again")
    if view.state is not JobState.SUCCEEDED:
        raise Cancelled(f"job {view.id} was cancelled")
    try:
        video = base64.b64encode(services.media.of(view.id).video.read_bytes()).decode()
    except FileNotFoundError as error:
        raise MediaExpired(f"the video of job {view.id} has been removed") from error
    # Base64 has nothing to escape, and json would look at each of millions of characters.
    return f'{{"video_base64": "{video}", "job_id": "{view.id}"}}'
