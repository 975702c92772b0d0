"""A face and a text or a recording in, a video out."""

import time
from typing import Annotated, Any

from fastapi import APIRouter, Form, Header, Request, Response, UploadFile
from fastapi.responses import JSONResponse
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from backend.dependencies import Services, ServicesDep
from backend.generation import Wish
from backend.jobs.changes import POLL_SECONDS
from backend.routes.errors import problem, problems
from backend.routes.jobs import video_answer
from contracts.catalogue import from_body
from contracts.errors import (
    Busy,
    Cancelled,
    Conflict,
    EngineError,
    EngineNotFound,
    EngineUnavailable,
    GpuTimeout,
    GpuUnreachable,
    ImageTooLarge,
    InvalidInput,
    JobNotFound,
    LipSyncError,
    MediaExpired,
    MediaTooLarge,
    NoFaceFound,
    OptionRejected,
    QueueFull,
    SpeechFailed,
    SpeechTooLong,
    StorageFull,
    TextRejected,
    UndecodableMedia,
    UnsupportedMedia,
    UpstreamError,
    VoiceNotFound,
)
from contracts.jobs import JobState, JobView
from contracts.lipsync import LipSyncOptions

router = APIRouter(tags=["generate"])

_HEADERS = {
    "X-Job-Id": {"schema": {"type": "string"}, "description": "The job, as under /jobs/{id}."},
    "X-Engine": {"schema": {"type": "string"}, "description": "The engine that rendered."},
    "X-Voice": {"schema": {"type": "string"}, "description": "The voice that spoke, for a text."},
}
_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The finished video.",
        "content": {"video/mp4": {"schema": {"type": "string", "format": "binary"}}},
        "headers": _HEADERS,
    },
    202: {
        "description": "With `Prefer: respond-async`: the job, which goes on by itself.",
        "model": JobView,
        "headers": {"Location": {"schema": {"type": "string"}, "description": "/jobs/{id}"}},
    },
    **problems(
        *(InvalidInput, OptionRejected, TextRejected, UndecodableMedia, NoFaceFound),
        *(EngineNotFound, VoiceNotFound, JobNotFound, MediaExpired, Conflict),
        *(MediaTooLarge, ImageTooLarge, SpeechTooLong, UnsupportedMedia, QueueFull, Cancelled),
        *(UpstreamError, SpeechFailed, Busy, GpuUnreachable, EngineUnavailable, GpuTimeout),
        *(LipSyncError, EngineError, StorageFull),
    ),
}
PATIENCE_SECONDS = 5.0
"""So long a caller waits for a job that can't begin, before it is told why; the job waits on."""
Prefer = Annotated[
    str | None,
    Header(
        description="`respond-async` answers 202 with the job at once.", examples=["respond-async"]
    ),
]
IdempotencyKey = Annotated[
    str | None,
    Header(
        pattern=r"^[A-Za-z0-9._~-]{1,128}$",
        description="Makes repeats safe: the same key gives the same job.",
    ),
]


class _Form(LipSyncOptions):
    image: UploadFile
    """Photo or video of a face: JPEG, PNG, WebP, GIF, BMP, TIFF; MP4, WebM, MOV, AVI."""
    callback_url: Annotated[
        str | None, Field(max_length=2000, examples=["https://receiver.example/lipsync-done"])
    ] = None
    """What is posted a signed message when the job has ended; needs BACKEND_WEBHOOK_SECRET."""


class FromText(_Form):
    """A face and what it shall say."""

    text: Annotated[str, Field(examples=["Hello, it is good to see you."])] = ""
    """What to say, at most 5,000 characters."""
    voice: Annotated[str | None, Field(examples=["espeak:en-us"])] = None
    """A voice's id, as under /voices; empty takes the first that speaks the language."""
    language: Annotated[str | None, Field(examples=["en"])] = None
    """BCP 47 tag of the text's language; English when neither it nor a voice is given."""


class FromAudio(_Form):
    """A face and the recording that it shall say."""

    audio: UploadFile
    """Speech: WAV, MP3, M4A, FLAC, Ogg, or a video's sound track; at most 10 minutes."""


@router.post("/generate-from-text", response_class=Response, responses=_RESPONSES)
async def generate_from_text(
    request: Request,
    form: Annotated[FromText, Form(media_type="multipart/form-data")],
    services: ServicesDep,
    prefer: Prefer = None,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Make a video of a face that says a text.

    curl -F image=@face.jpg -F text='Hello.' localhost:8000/generate-from-text -o hello.mp4
    """
    wish = Wish(
        face=form.image.file,
        text=form.text,
        voice=form.voice,
        language=form.language,
        options=_options(form),
        idempotency_key=idempotency_key,
        callback_url=form.callback_url,
    )
    return await _generate(request, wish, prefer, services)


@router.post("/generate-from-audio", response_class=Response, responses=_RESPONSES)
async def generate_from_audio(
    request: Request,
    form: Annotated[FromAudio, Form(media_type="multipart/form-data")],
    services: ServicesDep,
    prefer: Prefer = None,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Make a video of a face that says a recording.

    curl -F image=@face.jpg -F audio=@speech.wav localhost:8000/generate-from-audio -o a.mp4
    """
    wish = Wish(
        face=form.image.file,
        speech=form.audio.file,
        options=_options(form),
        idempotency_key=idempotency_key,
        callback_url=form.callback_url,
    )
    return await _generate(request, wish, prefer, services)


def _options(form: LipSyncOptions) -> LipSyncOptions:
    return LipSyncOptions.model_validate(form.model_dump(include=set(LipSyncOptions.model_fields)))


async def _generate(
    request: Request, wish: Wish, prefer: str | None, services: Services
) -> Response:
    job = await run_in_threadpool(services.generation.submit, wish)
    location = {"Location": f"/jobs/{job.id}", "X-Job-Id": job.id}
    if prefer and "respond-async" in prefer.lower():
        headers = {**location, "Preference-Applied": "respond-async"}
        return JSONResponse(job.view().model_dump(mode="json"), 202, headers=headers)
    try:
        view = await _ended(job.id, request, services)
        return video_answer(view, services)
    except LipSyncError as error:
        answer = problem(error, request.scope["request_id"])
        answer.headers.update(location)
        return answer


async def _ended(job_id: str, request: Request, services: Services) -> JobView:
    """The job once it has its video.

    Raises:
        LipSyncError: It has failed, or its caller should not wait any longer.
    """
    stuck_since: float | None = None
    with services.changes.following(job_id) as bell:
        while True:
            view = await run_in_threadpool(lambda: services.jobs.get(job_id).view())
            if view.error is not None:
                raise from_body(view.error.model_dump(), view.error.status)
            if view.state is JobState.SUCCEEDED:
                return view
            if view.state is JobState.CANCELLED:
                raise Cancelled(f"job {job_id} was cancelled")
            if await request.is_disconnected():
                raise Cancelled(f"nobody waits for job {job_id} any more")
            if services.worker.stopping:
                raise Busy(f"the backend was stopped; job {job_id} goes on when it runs again")
            if view.state is not JobState.QUEUED or not view.reason:
                stuck_since = None
            elif stuck_since is None:
                stuck_since = time.monotonic()
            elif time.monotonic() - stuck_since >= PATIENCE_SECONDS:
                raise _stuck(view, services)
            await bell.wait(POLL_SECONDS)


def _stuck(view: JobView, services: Services) -> LipSyncError:
    """Why the job waits, with a way to come back to it."""
    why = services.hosts.why() or Busy(view.reason)
    why.hint += f" The job goes on as soon as it can: GET /jobs/{view.id}"
    return why
