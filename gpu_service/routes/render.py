"""Renders over HTTP: whole as MP4, or as records while they are made."""

import asyncio
import logging
import tempfile
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple

from fastapi import APIRouter, File, Form, Header, Request, Response, UploadFile
from fastapi.responses import StreamingResponse
from pydantic import TypeAdapter, ValidationError
from starlette.background import BackgroundTask

from contracts.errors import (
    Cancelled,
    InvalidInput,
    LipSyncError,
    OptionRejected,
)
from contracts.lipsync import LipSyncOptions, RenderReport
from contracts.marks import PhonemeMark
from contracts.problem import PROBLEM_JSON, ErrorBody
from contracts.records import (
    RECORDS_MEDIA_TYPE,
    EndRecord,
    ErrorRecord,
    EventRecord,
    Framed,
    ProgressRecord,
    encode_record,
)
from gpu_service.engines.registry import Engines
from gpu_service.media.decode import face_kind
from gpu_service.render import Emit, RenderRequest, render
from gpu_service.routes.errors import rejected_fields
from gpu_service.routes.runs import Renders, Run

log = logging.getLogger(__name__)

HEARTBEAT_SECONDS: Final = 2.0
"""Longest silence on the wire while a render works."""
_MARKS = TypeAdapter(tuple[PhonemeMark, ...])
_ERROR = {
    "description": "Problem details",
    "content": {PROBLEM_JSON: {"schema": ErrorBody.model_json_schema()}},
}

router = APIRouter(
    tags=["render"],
    responses=dict.fromkeys((401, 404, 413, 415, 422, 500, 503), _ERROR),
)


class Video(NamedTuple):
    """A finished MP4."""

    report: RenderReport
    data: bytes


@router.post(
    "/render",
    summary="A face and a speech in, a video out",
    response_class=Response,
    responses={200: {"content": {"video/mp4": {}, RECORDS_MEDIA_TYPE: {}}}},
)
async def post_render(
    request: Request,
    face: Annotated[UploadFile, File(description="A photo, or a video.")],
    speech: Annotated[UploadFile, File(description="Any audio, or a video with sound.")],
    options: Annotated[
        str,
        Form(
            description="JSON of LipSyncOptions.",
            examples=['{"engine": "wav2lip", "checkpoint": "wav2lip_gan", "pads": "0,20,0,0"}'],
            json_schema_extra={
                "contentMediaType": "application/json",
                "contentSchema": LipSyncOptions.model_json_schema(),
            },
        ),
    ] = "{}",
    marks: Annotated[str | None, Form(description="JSON list of PhonemeMark.")] = None,
    accept: Annotated[str, Header()] = "video/mp4",
    idempotency_key: Annotated[str | None, Header(pattern=r"^[A-Za-z0-9._~-]{1,128}$")] = None,
) -> Response:
    """Render one video.

    `Accept: video/mp4` answers with the whole MP4, `application/vnd.lipsync.records` with
    records as they are made: the engine, progress, fragments of MP4, and the report.
    """
    order = RenderRequest(
        face=await face.read(),
        speech=await speech.read(),
        options=_parse_options(options),
        marks=_parse_marks(marks),
    )
    render_id = idempotency_key or uuid.uuid4().hex
    if RECORDS_MEDIA_TYPE in accept:
        return await _answer_records(request, order, render_id)
    return await _answer_video(request, order, render_id)


@router.post(
    "/run-wav2lip",
    summary="An image and an audio in, one MP4 out",
    response_class=Response,
    responses={200: {"content": {"video/mp4": {}}}},
)
async def post_run_wav2lip(
    request: Request,
    image: Annotated[UploadFile, File(description="A photo, or a video.")],
    audio: Annotated[UploadFile, File(description="Any audio, or a video with sound.")],
    engine: Annotated[
        str, Form(max_length=40, description="`auto` takes whatever engine is ready.")
    ] = "wav2lip",
) -> Response:
    """Render with Wav2Lip, or with another engine if asked; `X-Engine` says which."""
    order = RenderRequest(
        face=await image.read(),
        speech=await audio.read(),
        options=LipSyncOptions(engine=engine),
    )
    return await _answer_video(request, order, uuid.uuid4().hex)


def _parse_options(text: str) -> LipSyncOptions:
    try:
        return LipSyncOptions.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]["loc"]
        raise OptionRejected(
            rejected_fields(error.errors()),
            hint=f"The options are: {', '.join(LipSyncOptions.model_fields)}.",
            field=str(first[0]) if first else "options",
        ) from error


def _parse_marks(text: str | None) -> tuple[PhonemeMark, ...] | None:
    if text is None:
        return None
    try:
        return _MARKS.validate_json(text)
    except ValidationError as error:
        raise InvalidInput(f"marks: {rejected_fields(error.errors()[:3])}") from error


async def _answer_video(request: Request, order: RenderRequest, render_id: str) -> Response:
    renders: Renders = request.app.state.renders
    run = renders.start(partial(_render_video, request.app.state.engines, order))
    async with _stopped_when_gone(run, request):
        while await run.next():
            pass
        video = run.result()
    _log_end(render_id, video.report)
    headers = {"X-Engine": video.report.engine, "Render-Id": render_id}
    return Response(video.data, media_type="video/mp4", headers=headers)


def _render_video(engines: Engines, order: RenderRequest, emit: Emit) -> Video:
    with tempfile.TemporaryDirectory(prefix="lipsync-") as folder:
        file = Path(folder) / "video.mp4"
        report = _render(engines, order, emit, file)
        return Video(report, file.read_bytes())


def _render(
    engines: Engines, order: RenderRequest, emit: Emit, file: Path | None = None
) -> RenderReport:
    engine = engines.resolve(order.options.engine, face_kind(order.face))
    started = time.perf_counter()
    report = render(order, engine, emit, file, engines.detectors)
    engines.rendered(engine, report.seconds, time.perf_counter() - started)
    return report


async def _answer_records(request: Request, order: RenderRequest, render_id: str) -> Response:
    renders: Renders = request.app.state.renders
    run = renders.start(partial(_render, request.app.state.engines, order))
    async with _stopped_when_gone(run, request):
        first = await run.next()
        if first is None:
            run.result()
    headers = {"Render-Id": render_id}
    if first and isinstance(first.record, EventRecord):
        headers["X-Engine"] = first.record.value
    return StreamingResponse(
        _records(run, first, render_id),
        media_type=RECORDS_MEDIA_TYPE,
        headers=headers,
        # Comes after the last record, and also when the caller leaves before.
        background=BackgroundTask(run.stop, _gone()),
    )


def _gone() -> Cancelled:
    return Cancelled("the caller has gone")


@asynccontextmanager
async def _stopped_when_gone(run: Run[Any], request: Request) -> AsyncIterator[None]:
    """Look for the caller while the answer has not begun; the run stops if nobody waits."""

    async def look() -> None:
        # The body is read already, so all that can still come is word that the caller has gone.
        while (await request.receive())["type"] != "http.disconnect":
            pass
        run.stop(_gone())

    looking = asyncio.create_task(look())
    try:
        yield
    except BaseException:
        run.stop(_gone())
        raise
    finally:
        looking.cancel()


async def _records(
    run: Run[RenderReport], first: Framed | None, render_id: str
) -> AsyncIterator[bytes]:
    """The run's records on the wire; the latest progress again where nothing else flows."""
    framed = first
    progress = ProgressRecord(stage="decode", done=1, total=1)
    while framed is not None:
        if isinstance(framed.record, ProgressRecord):
            progress = framed.record
        yield encode_record(framed.record, framed.payload)
        try:
            framed = await asyncio.wait_for(run.next(), HEARTBEAT_SECONDS)
        except TimeoutError:
            framed = Framed(progress)
    yield encode_record(_last_record(run, render_id))


def _last_record(run: Run[RenderReport], render_id: str) -> EndRecord | ErrorRecord:
    try:
        report = run.result()
    except LipSyncError as error:
        log.info("render %s: %s, %s", render_id, error.code, error.detail)
        return ErrorRecord(error=error.body(render_id))
    _log_end(render_id, report)
    return EndRecord(report=report)


def _log_end(render_id: str, report: RenderReport) -> None:
    log.info(
        "render %s: %.2f s of video with %s, seconds by stage: %s",
        render_id,
        report.seconds,
        report.engine,
        report.stage_seconds,
    )
