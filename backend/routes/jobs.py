"""Jobs and what they have made."""

import re
from contextlib import suppress
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import FileResponse
from starlette.types import Receive, Scope, Send

from backend.dependencies import Services, ServicesDep
from backend.jobs.job import Job
from backend.routes.errors import problem, problems
from backend.staging.poster import poster
from contracts.errors import (
    InvalidInput,
    JobEnded,
    JobNotFound,
    JobNotRetriable,
    MediaExpired,
    QueueFull,
    RangeRefused,
    VideoNotReady,
)
from contracts.jobs import JobPage, JobState, JobView

router = APIRouter(prefix="/jobs", tags=["jobs"])

Limit = Annotated[int, Query(ge=1, le=100, description="How many at most.")]
Cursor = Annotated[
    str | None, Query(description="`next_cursor` of the page before.", max_length=200)
]
States = Annotated[
    tuple[JobState, ...], Query(description="Only jobs in this state; may be given several times.")
]
# More digits than any file has bytes, and int() may refuse to read them.
_RANGE = re.compile(r"bytes=(?:(\d{1,18})-(\d{0,18})|-(\d{1,18}))$")


@router.get("", responses=problems(InvalidInput))
def list_jobs(
    services: ServicesDep, limit: Limit = 20, cursor: Cursor = None, state: States = ()
) -> JobPage:
    """The jobs, newest first.

    curl 'localhost:8000/jobs?limit=5&state=queued&state=running'
    """
    jobs, next_cursor = services.jobs.page(limit, cursor, state)
    return JobPage(jobs=tuple(job.view() for job in jobs), next_cursor=next_cursor)


@router.get("/{job_id}", responses=problems(JobNotFound))
def show_job(job_id: str, services: ServicesDep) -> JobView:
    """Where a job stands."""
    return services.jobs.get(job_id).view()


@router.post("/{job_id}/cancel", responses=problems(JobNotFound, JobEnded))
def cancel_job(job_id: str, services: ServicesDep) -> JobView:
    """Stop a job that waits or runs; its GPU host stops rendering.

    curl -X POST localhost:8000/jobs/JOB_ID/cancel
    """
    return services.jobs.update(job_id, Job.cancel).view()


@router.post(
    "/{job_id}/retry",
    status_code=202,
    responses={
        202: {
            "description": "The job, which waits again.",
            "headers": {"Location": {"schema": {"type": "string"}, "description": "/jobs/{id}"}},
        },
        **problems(JobNotFound, JobNotRetriable, MediaExpired, QueueFull),
    },
)
def retry_job(job_id: str, response: Response, services: ServicesDep) -> JobView:
    """Make a failed or cancelled job's video after all, from the start.

    curl -X POST localhost:8000/jobs/JOB_ID/retry
    """

    def retry(job: Job) -> None:
        job.retry()
        media = services.media.of(job.id)
        needed = [media.face] if job.text is not None else [media.face, media.speech]
        if job.expired or not all(path.exists() for path in needed):
            raise MediaExpired(f"what was uploaded for job {job.id} has been removed")

    job = services.jobs.update(job_id, retry)
    response.headers["Location"] = f"/jobs/{job.id}"
    return job.view()


@router.delete("/{job_id}", status_code=204, responses=problems(JobNotFound))
def delete_job(job_id: str, services: ServicesDep) -> None:
    """Forget a job and everything that belongs to it; one that runs is cancelled first.

    curl -X DELETE localhost:8000/jobs/JOB_ID
    """
    with suppress(JobEnded):
        services.jobs.update(job_id, Job.cancel)
    services.jobs.delete(job_id)
    services.media.remove(job_id)


@router.head("/{job_id}/video", include_in_schema=False)
@router.get(
    "/{job_id}/video",
    response_class=FileResponse,
    responses={
        200: {"content": {"video/mp4": {}}, "description": "The MP4."},
        206: {"content": {"video/mp4": {}}, "description": "The part that `Range` asks for."},
        **problems(JobNotFound, VideoNotReady, MediaExpired, RangeRefused),
    },
)
def download_video(job_id: str, request: Request, services: ServicesDep) -> Response:
    """A finished job's MP4, whole or in parts (`Range: bytes=first-last`)."""
    job = _with_media(job_id, services)
    if job.state is not JobState.SUCCEEDED:
        raise VideoNotReady(f"job {job.id} is {job.state.value}")
    answer = video_answer(job, services)
    size = int(answer.headers["Content-Length"])
    if not _keep_range(request, size):
        refusal = RangeRefused(f"the video has {size} bytes")
        refused = problem(refusal, request.scope["request_id"])
        refused.headers["Content-Range"] = f"bytes */{size}"
        return refused
    return answer


@router.head("/{job_id}/poster", include_in_schema=False)
@router.get(
    "/{job_id}/poster",
    response_class=Response,
    responses={
        200: {"content": {"image/jpeg": {}}, "description": "A JPEG of at most 512 pixels a side."},
        **problems(JobNotFound, VideoNotReady, MediaExpired),
    },
)
def show_poster(job_id: str, services: ServicesDep) -> Response:
    """A picture of the job: its video's first frame, or the face before there is one."""
    job = _with_media(job_id, services)
    picture = poster(services.media.of(job.id))
    if picture is None:
        raise VideoNotReady(f"there is no picture of job {job.id}", hint="Ask for its video.")
    # What is shown of a job that goes on changes with its video.
    keep = "private, max-age=86400" if job.state is JobState.SUCCEEDED else "no-store"
    return Response(picture, media_type="image/jpeg", headers={"Cache-Control": keep})


def _with_media(job_id: str, services: Services) -> JobView:
    job = services.jobs.get(job_id).view()
    if job.expired:
        raise _expired(job)
    return job


def video_answer(job: JobView, services: Services) -> FileResponse:
    """A finished job's MP4 with what made it.

    Raises:
        MediaExpired: It has been removed.
    """
    path = services.media.of(job.id).video
    try:
        about = path.stat()
    except FileNotFoundError:
        raise _expired(job) from None
    headers = {"X-Job-Id": job.id, "X-Engine": job.engine or ""}
    if job.voice:
        headers["X-Voice"] = job.voice
    return _Video(path, media_type="video/mp4", headers=headers, stat_result=about)


class _Video(FileResponse):
    """Breaks off where its file is removed after the headers were sent, instead of failing."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with suppress(FileNotFoundError):
            await super().__call__(scope, receive, send)


def _expired(job: JobView) -> MediaExpired:
    return MediaExpired(f"the video of job {job.id} has been removed")


def _keep_range(request: Request, size: int) -> bool:
    """Leave FileResponse only a range that it can read; False when there is no such part.

    FileResponse answers others in plain text; RFC 9110 lets a server ignore what it can't read,
    and has it ignore ranges of a HEAD.
    """
    match = _RANGE.match(request.headers.get("range", ""))
    backwards = match and match[2] and int(match[2]) < int(match[1])
    if match is None or backwards or request.method == "HEAD":
        headers = request.scope["headers"]
        request.scope["headers"] = [header for header in headers if header[0] != b"range"]
        return True
    return int(match[3]) > 0 if match[3] else int(match[1]) < size
