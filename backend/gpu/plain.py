"""Plain hosts, which offer only `POST /run-wav2lip`: a face and a WAV in, a whole MP4 out."""

import json
import logging
import shutil
import time
import uuid
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Final

import requests
from requests_toolbelt import MultipartEncoder

from backend.gpu.client import PLAIN_PATH
from backend.gpu.rendering import OnRestart, RenderOrder
from backend.gpu.stop import Stop
from backend.gpu.transport import Line, Meter, gpu_errors, line_to, no_gpu_host
from backend.gpu.uploads import OnSent, told_nothing, watched
from backend.gpu.wire import Wire
from backend.staging.forms import common_face, common_speech
from backend.staging.fragments import Fragments
from backend.staging.refragment import WholeVideo, pieces, refragment
from contracts.errors import (
    Cancelled,
    EngineBusy,
    GpuAnswerBroken,
    GpuHostDied,
    GpuRefused,
    GpuTimeout,
    LipSyncError,
    RenderFailed,
    TunnelFailed,
)
from contracts.lipsync import EngineInfo, EngineStatus, LipSyncOptions, RenderReport
from contracts.records import (
    EndRecord,
    EventRecord,
    Framed,
    InitRecord,
    MediaRecord,
    ProgressRecord,
)

log = logging.getLogger(__name__)

PATIENCE_SECONDS: Final = 1800.0
"""A plain host says nothing until the whole video is there: for so long at most."""
MAX_VIDEO_BYTES: Final = 2_000_000_000
ENGINE: Final = "wav2lip"
ENGINE_VERSION: Final = "of a plain host"
"""Which it is, it does not say; stands in the label of its videos, too."""
PLAIN_ENGINE: Final = EngineStatus(
    info=EngineInfo(
        name=ENGINE,
        title="Wav2Lip on a plain host, which gives whole videos and takes no options",
        version=ENGINE_VERSION,
        accepts=("photo", "video"),
        streaming=False,
        look_ahead_seconds=0.0,
        needs=("a host that runs it",),
        licence="that of the host's weights",
    ),
    ready=True,
    device="",
    precision="",
)
"""All that is known of what it renders with."""

_MAX_SAID: Final = 200


class PlainClient:
    """Client of one plain host; safe to use from several threads.

    Args:
        url: Where it answers, without the path.
        token: Sent as that of a GPU host, should it ask for one.
        stall_seconds: An answer that has begun may be silent for so long.
        patience_seconds: How long it may take until its answer begins.
        meter: Is told what passes over the connections.
    """

    far = False
    """It gets the forms of its own that every such host reads, never packed ones."""

    def __init__(
        self,
        url: str,
        token: str,
        *,
        stall_seconds: float = 10.0,
        patience_seconds: float = PATIENCE_SECONDS,
        meter: Meter | None = None,
    ) -> None:
        self.url = url.rstrip("/")
        self._token = token
        self._stall_seconds = stall_seconds
        self._patience_seconds = patience_seconds
        self._meter = meter

    def cancel(self, key: str) -> bool:
        """Nothing: a plain host is told of the end by its connection, which is closed by then."""
        log.debug("%s: a plain host knows no render by its key", key)
        return False

    def render(
        self,
        order: RenderOrder,
        fragments: Fragments,
        stop: Stop,
        on_restart: OnRestart,
        on_sent: OnSent = told_nothing,
    ) -> Generator[Framed, None, None]:
        """Have a face speak; the video comes all at once, when it is there.

        Args:
            order: What to render. Options other than the engine are ignored, and said to be.
            fragments: Take the video; a record is in them before it is yielded.
            stop: Ends it at any moment, by closing the connection.
            on_restart: Is told when the connection, or the tunnel's, broke in the middle, because a
                plain host can't go on with what it renders. What it raises ends the render.
            on_sent: Is told of bytes that leave, of how many in all; often.

        Yields:
            When the video is there, the engine and the fragments in quick succession, at last an
            EndRecord; that alone where the fragments are complete already.

        Raises:
            RenderFailed: The host says that it failed, or answers with no MP4.
            EngineBusy: It is busy.
            GpuRefused: It does not accept our token.
            GpuUnreachable: Nobody is there.
            GpuAnswerBroken: The connection broke.
            GpuTimeout: It said nothing for too long.
            Cancelled: `stop` was set.
        """
        if fragments.report and not fragments.abandoned:
            yield Framed(EndRecord(report=fragments.report))
            return
        # How far it is, nobody knows.
        yield Framed(ProgressRecord(stage="render", done=0, total=0))
        began = time.monotonic()
        with _workshop(order.face.parent) as folder:
            whole = folder / "whole.mp4"
            try:
                self._fetch(order, stop, folder, whole, on_sent)
            except LipSyncError as error:
                if stop.is_set():
                    raise Cancelled("stopped while the GPU host was rendering") from error
                if isinstance(error, GpuAnswerBroken | GpuTimeout) or (
                    isinstance(error, TunnelFailed) and error.midway
                ):
                    on_restart(GpuHostDied(f"{error.detail}, and a plain host can't go on"))
                raise
            seconds = time.monotonic() - began
            fragmented = folder / "fragmented.mp4"
            video = refragment(whole, fragmented, f"{ENGINE} {ENGINE_VERSION}")
            # Only now: a job whose engine is chosen waits for a host that has it.
            yield Framed(EventRecord(name="engine", value=ENGINE))
            # Not the address itself, under which a host that can go on would be asked to.
            fragments.start_over(uuid.uuid4().hex, self.url + PLAIN_PATH)
            yield Framed(ProgressRecord(stage="render", done=0, total=video.seconds))
            yield from _appended(fragmented, fragments, stop)
        end = EndRecord(report=_report(order.options, video, seconds))
        fragments.append(end)
        yield Framed(end)

    def _fetch(
        self, order: RenderOrder, stop: Stop, folder: Path, whole: Path, on_sent: OnSent
    ) -> None:
        face, speech = common_face(order.face, folder), common_speech(order.speech, folder)
        wire = Wire(self._stall_seconds)
        with (
            line_to(self.url, self._token, wire, self._meter) as line,
            stop.cutting(wire.cut),
            ExitStack() as files,
        ):
            body = MultipartEncoder(
                {
                    "image": (face.name, files.enter_context(face.path.open("rb"))),
                    "audio": (
                        speech.name,
                        files.enter_context(speech.path.open("rb")),
                        "audio/wav",
                    ),
                }
            )
            answer, said = line.exchange(
                "POST",
                PLAIN_PATH,
                data=watched(body, on_sent),
                headers={"Accept": "video/mp4", "Content-Type": body.content_type},
                read_seconds=self._patience_seconds,
                stream=True,
            )
            with answer:
                _check(answer, said, self.url)
                _receive(line, answer, whole)


def _appended(fragmented: Path, fragments: Fragments, stop: Stop) -> Iterator[Framed]:
    for seq, piece in enumerate(pieces(fragmented)):
        if stop.is_set():
            raise Cancelled("stopped when the GPU host had rendered")
        record = (
            MediaRecord(seq=seq, start=piece.start, seconds=piece.seconds) if seq else InitRecord()
        )
        fragments.append(record, piece.data)
        yield Framed(record, piece.data)


@contextmanager
def _workshop(job: Path) -> Iterator[Path]:
    """A folder for what is between upload and fragments; what a killed process left goes first."""
    folder = job / "plain"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _check(answer: requests.Response, said: bytes, url: str) -> None:
    """Raise what an answer means that is no video."""
    status = answer.status_code
    kind = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        raise GpuRefused(f"the GPU host at {url} refuses the token")
    if status in (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED):
        raise no_gpu_host(url, f"{status} ")
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        raise RenderFailed(
            "the plain GPU host takes no files of this size", hint="Send smaller files."
        )
    if status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
        after = answer.headers.get("Retry-After", "")
        raise EngineBusy(
            "the plain GPU host is busy",
            retry_after_seconds=float(after) if after.isdigit() else None,
        )
    if status != HTTPStatus.OK:
        raise RenderFailed(f"the plain GPU host answered {status}{_words(said)}")
    if kind.startswith(("text/", "application/json")):
        what = "a web page" if kind == "text/html" else kind
        raise RenderFailed(f"the plain GPU host answered with {what} instead of a video")


def _words(said: bytes) -> str:
    """What a JSON error says in words; nothing of a web page."""
    try:
        body = json.loads(said)
    except ValueError:
        return ""
    if not isinstance(body, dict):
        return ""
    for name in ("detail", "error", "message"):
        words = body.get(name)
        if isinstance(words, str) and words.isprintable() and "<" not in words:
            return f": {words[:_MAX_SAID]}"
    return ""


def _receive(line: Line, answer: requests.Response, whole: Path) -> None:
    num_bytes = 0
    with gpu_errors(line.url), whole.open("wb") as file:
        for chunk in answer.iter_content(1 << 16):
            num_bytes += len(chunk)
            if num_bytes > MAX_VIDEO_BYTES:
                raise RenderFailed("the plain GPU host's video is far too large")
            file.write(chunk)


def _report(options: LipSyncOptions, video: WholeVideo, seconds: float) -> RenderReport:
    defaults = LipSyncOptions()
    given = (name for name in LipSyncOptions.model_fields if name != "engine")
    warnings = () if video.codec == "h264" else (_not_everywhere(video.codec),)
    return RenderReport(
        engine=ENGINE,
        engine_version=ENGINE_VERSION,
        width=video.width,
        height=video.height,
        fps=video.fps,
        num_frames=video.num_frames,
        seconds=video.seconds,
        stage_seconds={"render": seconds},
        ignored=tuple(name for name in given if getattr(options, name) != getattr(defaults, name)),
        warnings=warnings,
    )


def _not_everywhere(codec: str) -> str:
    return f"the plain host's pictures are {codec}, which not every browser plays"
