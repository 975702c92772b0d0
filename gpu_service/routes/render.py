"""Renders over HTTP: whole as MP4, or as records while they are made."""

import asyncio
import time
from collections.abc import Coroutine
from contextlib import suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Final

from fastapi import APIRouter, File, Form, Header, Query, Request, Response, UploadFile
from fastapi.responses import FileResponse, StreamingResponse
from starlette.types import Receive, Scope, Send

from contracts.errors import Cancelled
from contracts.lipsync import LipSyncOptions, RenderReport
from contracts.problem import PROBLEM_JSON, ErrorBody
from contracts.records import RECORDS_MEDIA_TYPE, EndRecord, encode_record
from gpu_service.avatars import Avatars
from gpu_service.engines.registry import Engines
from gpu_service.media.decode import face_kind
from gpu_service.media.join import join_fragments
from gpu_service.render import Emit, RenderRequest, render
from gpu_service.routes.orders import Sent, Wanted, parse_wanted, read_order
from gpu_service.routes.rendering import Run
from gpu_service.routes.runs import Renders

BEGIN_SECONDS: Final = 5.0
"""So long an answer of records waits for the first; a fault that is found until then is a problem
of its own, and later it is the last record. Callers take 10 s of silence for a broken line."""
_SHA256: Final = r"^[0-9a-fA-F]{64}$"
_ERROR = {
    "description": "Problem details",
    "content": {PROBLEM_JSON: {"schema": ErrorBody.model_json_schema()}},
}

router = APIRouter(
    tags=["render"],
    responses=dict.fromkeys((401, 404, 409, 413, 415, 422, 428, 500, 503), _ERROR),
)


@router.post(
    "/render",
    summary="A face and a speech in, a video out",
    response_class=Response,
    responses={200: {"content": {"video/mp4": {}, RECORDS_MEDIA_TYPE: {}}}},
)
async def post_render(
    request: Request,
    speech: Annotated[
        UploadFile | None, File(description="Any audio, or a video with sound.")
    ] = None,
    speech_sha256: Annotated[
        str | None,
        Form(
            pattern=_SHA256,
            description="Instead of `speech`: the SHA-256 of one that was put under /media.",
        ),
    ] = None,
    face: Annotated[UploadFile | None, File(description="A photo, or a video.")] = None,
    face_sha256: Annotated[
        str | None,
        Form(
            pattern=_SHA256,
            description="Instead of `face`: the SHA-256 of one that was sent before, in hex.",
        ),
    ] = None,
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

    With an `Idempotency-Key`, a repeat of the request joins the render that runs, or gets its
    result for 15 minutes after its end, in either form; after an error it renders anew. The render
    goes on for 60 seconds while nobody listens. Without a key it ends with its caller.

    Options that this host does not know are named in the report's `ignored`, as are those that the
    engine does not use; with an MP4, in the header `X-Ignored`.
    """
    state = request.app.state
    order = await read_order(
        state.faces,
        state.uploads,
        Sent(face, face_sha256),
        Sent(speech, speech_sha256),
        parse_wanted(options, marks),
    )
    run = _start(request, order, idempotency_key)
    if RECORDS_MEDIA_TYPE in accept:
        return await _answer_records(request, run)
    return await _answer_video(request, run)


@router.get(
    "/render/{key}",
    summary="A render again, from any record on",
    response_class=Response,
    responses={200: {"content": {RECORDS_MEDIA_TYPE: {}}}},
)
async def get_render(
    request: Request,
    key: str,
    first: Annotated[
        int,
        Query(alias="from", ge=0, description="The first `seq` that is wanted; that of init is 0."),
    ] = 0,
) -> Response:
    """The engine and the latest progress, the media records from `from` on, and the end.

    What is not there yet comes as it is made. `Render-Id` says whether it is still the same render.
    """
    run: Run = request.app.state.renders.find(key)
    request.state.render_id = run.id
    return await _answer_records(request, run, first)


@router.delete("/render/{key}", summary="Stop a render and forget it", status_code=204)
async def delete_render(request: Request, key: str) -> Response:
    """Whoever still listens gets the error `CANCELLED`."""
    run: Run = request.app.state.renders.delete(key)
    return Response(status_code=204, headers=_headers(run))


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
    state = request.app.state
    wanted = Wanted(LipSyncOptions(engine=engine))
    order = await read_order(state.faces, state.uploads, Sent(image), Sent(audio), wanted)
    return await _answer_video(request, _start(request, order, None))


def _start(request: Request, order: RenderRequest, key: str | None) -> Run:
    """The render that answers this request, which may have been begun by another."""
    state = request.app.state
    job = partial(_render, state.engines, state.avatars, order)
    run: Run = state.renders.start(job, key, order.sha256)
    # So that a problem, too, says which render it is about.
    request.state.render_id = run.id
    return run


def _render(engines: Engines, avatars: Avatars, order: RenderRequest, emit: Emit) -> RenderReport:
    engine = engines.resolve(order.options.engine, face_kind(order.face))
    started = time.perf_counter()
    report = render(order, engine, emit, None, engines.detectors, avatars)
    engines.rendered(engine, report.seconds, time.perf_counter() - started)
    return report


def _headers(run: Run) -> dict[str, str]:
    headers = {"Render-Id": run.id}
    if run.engine:
        headers["X-Engine"] = run.engine.value
    if isinstance(run.last, EndRecord) and run.last.report.ignored:
        headers["X-Ignored"] = ", ".join(run.last.report.ignored)
    return headers


async def _answer_video(request: Request, run: Run) -> Response:
    renders: Renders = request.app.state.renders
    renders.join(run)
    try:
        await _unless_gone(request, run.ended())
    finally:
        renders.leave(run)
    if run.error:
        raise run.error
    return await asyncio.to_thread(_VideoFile, run)


async def _answer_records(request: Request, run: Run, first: int = 0) -> Response:
    renders: Renders = request.app.state.renders
    renders.join(run)
    try:
        with suppress(TimeoutError):
            begun = asyncio.wait_for(run.begun(), BEGIN_SECONDS)
            await _unless_gone(request, begun)
        if request.method == "POST" and run.error and not run.engine:
            raise run.error
    except BaseException:
        renders.leave(run)
        raise
    return _RecordStream(renders, run, first)


class _VideoFile(FileResponse):
    """A render's MP4, in a file that goes when the answer ends or breaks off."""

    def __init__(self, run: Run) -> None:
        self._folder = TemporaryDirectory(prefix="lipsync-")
        file = Path(self._folder.name) / "video.mp4"
        try:
            join_fragments(run.payloads, file)
        except BaseException:
            self._folder.cleanup()
            raise
        super().__init__(file, headers=_headers(run), media_type="video/mp4")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        with self._folder:
            await super().__call__(scope, receive, send)


class _RecordStream(StreamingResponse):
    """A render's records from one on; who gets them listens until the answer ends or breaks off."""

    def __init__(self, renders: Renders, run: Run, first: int) -> None:
        wire = (encode_record(*framed) async for framed in run.records(first))
        super().__init__(wire, media_type=RECORDS_MEDIA_TYPE, headers=_headers(run))
        self._renders, self._run = renders, run

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._renders.leave(self._run)


async def _unless_gone(request: Request, work: Coroutine[Any, Any, None]) -> None:
    """Wait for the work, but no longer than for its caller, while the answer has not begun.

    Raises:
        Cancelled: The caller has gone.
    """

    async def gone() -> None:
        # The body is read already, so all that can still come is word that the caller has gone.
        while (await request.receive())["type"] != "http.disconnect":
            pass

    working, going = asyncio.create_task(work), asyncio.create_task(gone())
    try:
        await asyncio.wait((working, going), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise Cancelled("the caller has gone")
        working.result()
    finally:
        working.cancel()
        going.cancel()
