"""Jobs and their videos."""

import re
from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, Response

from backend.dependencies import ServicesDep
from backend.routes.errors import problem, problems
from contracts.errors import MediaExpired, RangeRefused, VideoNotReady
from contracts.jobs import JobState, JobView

router = APIRouter(prefix="/jobs", tags=["jobs"])

# More digits than any file has bytes, and int() may refuse to read them.
_RANGE = re.compile(r"bytes=(?:(\d{1,18})-(\d{0,18})|-(\d{1,18}))$")


@router.get("/{job_id}", responses=problems(404))
def show_job(job_id: str, services: ServicesDep) -> JobView:
    """Where a job stands."""
    return services.jobs.get(job_id).view()


@router.get(
    "/{job_id}/video",
    response_class=FileResponse,
    responses={
        200: {"content": {"video/mp4": {}}, "description": "The MP4."},
        206: {"content": {"video/mp4": {}}, "description": "The part that `Range` asks for."},
        **problems(404, 409, 410, 416),
    },
)
def download_video(job_id: str, request: Request, services: ServicesDep) -> Response:
    """A finished job's MP4, whole or in parts (`Range: bytes=first-last`)."""
    job = services.jobs.get(job_id).view()
    if job.state is not JobState.SUCCEEDED:
        raise VideoNotReady(f"job {job.id} is {job.state.value}")
    path = services.media.of(job.id).video
    if not path.exists():
        raise MediaExpired(f"the video of job {job.id} has been removed")
    size = path.stat().st_size
    if not _keep_range(request, size):
        refusal = RangeRefused(f"the video has {size} bytes")
        answer = problem(refusal, request.scope["request_id"])
        answer.headers["Content-Range"] = f"bytes */{size}"
        return answer
    return video_answer(job, path)


def video_answer(job: JobView, path: Path) -> FileResponse:
    """A finished job's MP4 with what made it."""
    headers = {"X-Job-Id": job.id, "X-Engine": job.engine or ""}
    if job.voice:
        headers["X-Voice"] = job.voice
    return FileResponse(path, media_type="video/mp4", headers=headers)


def _keep_range(request: Request, size: int) -> bool:
    """Leave FileResponse only a range that it can read; False when there is no such part.

    FileResponse answers others in plain text; RFC 9110 lets a server ignore what it can't read.
    """
    match = _RANGE.match(request.headers.get("range", ""))
    if match is None or (match[2] and int(match[2]) < int(match[1])):
        headers = request.scope["headers"]
        request.scope["headers"] = [header for header in headers if header[0] != b"range"]
        return True
    return int(match[3]) > 0 if match[3] else int(match[1]) < size
