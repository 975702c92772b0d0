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
from pydantic import TypeAdapter, ValidationError
from starlette.types import Receive, Scope, Send

from contracts.errors import Cancelled, FaceNeeded, InvalidInput, OptionRejected
from contracts.lipsync import LipSyncOptions, RenderReport
from contracts.marks import PhonemeMark
from contracts.problem import PROBLEM_JSON, ErrorBody
from contracts.records import RECORDS_MEDIA_TYPE, encode_record
from gpu_service.avatars import Avatars
from gpu_service.cache import Cache
from gpu_service.engines.registry import Engines
from gpu_service.media.decode import face_kind
from gpu_service.media.join import join_fragments
from gpu_service.render import Emit, RenderRequest, render
from gpu_service.routes.errors import rejected_fields
from gpu_service.routes.runs import Renders, Run

BEGIN_SECONDS: Final = 5.0
"""So long an answer of records waits for the first; a fault that is found until then is a problem
of its own, and later it is the last record. Callers take 10 s of silence for a broken line."""
_MARKS = TypeAdapter(tuple[PhonemeMark, ...])
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
    speech: Annotated[UploadFile, File(description="Any audio, or a video with sound.")],
    face: Annotated[UploadFile | None, File(description="A photo, or a video.")] = None,
    face_sha256: Annotated[
        str | None,
        Form(
            pattern=r"^[0-9a-fA-F]{64}$",
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
    """
    order = await _order(
        request.app.state.faces,
        face,
        face_sha256,
        speech,
        _parse_options(options),
        _parse_marks(marks),
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
    faces: Cache[str, bytes] = request.app.state.faces
    order = await _order(faces, image, None, audio, LipSyncOptions(engine=engine))
    return await _answer_video(request, _start(request, order, None))


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


async def _order(
    faces: Cache[str, bytes],
    face: UploadFile | None,
    face_sha256: str | None,
    speech: UploadFile,
    options: LipSyncOptions,
    marks: tuple[PhonemeMark, ...] | None = None,
) -> RenderRequest:
    """What is asked for, with a face that was sent now or before."""
    if face is None and face_sha256 is None:
        raise InvalidInput(
            "no face was sent", hint="Send a file as `face`, or `face_sha256`.", field="face"
        )
    known = face_sha256.lower() if face_sha256 else None
    data = await face.read() if face else faces.get(known or "")
    if data is None:
        raise FaceNeeded("the GPU host does not have the face with this hash", field="face_sha256")
    order = RenderRequest(data, await speech.read(), options, marks)
    # Uploads have up to 100 MB, which take a good part of a second.
    await asyncio.to_thread(lambda: order.sha256)
    if known not in (None, order.face_sha256):
        raise InvalidInput(
            f"face_sha256 is not that of the face, which is {order.face_sha256}",
            field="face_sha256",
        )
    # The one that is kept may hang on an avatar too: another in its place would be there twice.
    if faces.get(order.face_sha256) is None:
        faces.put(order.face_sha256, data, len(data))
    return order


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
