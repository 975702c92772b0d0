"""Jobs while they go on: their events, and their video as it comes."""

import logging
import re
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import Annotated, Final

from fastapi import APIRouter, Header, Response
from fastapi.responses import StreamingResponse
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from starlette.concurrency import run_in_threadpool
from starlette.types import Receive, Scope, Send

from backend.dependencies import Services, ServicesDep
from backend.jobs.changes import POLL_SECONDS
from backend.routes.errors import problems
from backend.staging.fragments import FragmentsReader
from contracts.errors import JobNotFound, MediaExpired, VideoNotReady

log = logging.getLogger(__name__)
router = APIRouter(prefix="/jobs", tags=["jobs"])

HEARTBEAT_SECONDS: Final = 10.0
CHUNK_BYTES: Final = 1 << 18
# Proxies keep neither, nor do they hold any of it back.
_HEADERS: Final = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
_VERSION: Final = re.compile(r"[0-9]{1,18}")
LastEventId = Annotated[
    str, Header(description="The `version` that is known already.", examples=["12"])
]


_EVENT: Final = {
    "type": "object",
    "required": ["event", "data", "id"],
    "properties": {
        "event": {"const": "job"},
        "data": {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": {"$ref": "#/components/schemas/JobView"},
        },
        "id": {"type": "string", "description": "The job's `version`."},
    },
}


class _BrokenOff(Exception):
    """What was sent so far can't be gone on with."""


class _Feed(StreamingResponse):
    """Sends what a generator gives, and closes that as soon as the caller has gone.

    Where the generator raises `_BrokenOff`, the connection is closed without the end that HTTP
    asks for, so that no caller takes what came for the whole.
    """

    def __init__(
        self, source: AsyncGenerator[bytes, None], media_type: str, headers: dict[str, str]
    ) -> None:
        super().__init__(source, media_type=media_type, headers=_HEADERS | headers)
        self._source = source

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one caller."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._source.aclose()

    async def stream_response(self, send: Send) -> None:
        """Send it all, or what there is."""
        with suppress(_BrokenOff):
            await super().stream_response(send)


@router.get(
    "/{job_id}/events",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "Events called `job`; data is the whole job, `id` its version.",
            "content": {
                "text/event-stream": {
                    "schema": _EVENT,
                    "example": 'event: job\ndata: {"id": "…", "state": "running"}\nid: 12\n\n',
                }
            },
        },
        204: {"description": "The job has ended, and `Last-Event-ID` is its last version."},
        **problems(JobNotFound),
    },
)
async def follow_job(
    job_id: str, services: ServicesDep, last_event_id: LastEventId = ""
) -> Response:
    """How the job does, at once and after every change, until it has ended.

    curl -N localhost:8000/jobs/JOB_ID/events
    """
    job = await run_in_threadpool(lambda: services.jobs.get(job_id).view())
    seen = int(last_event_id) if _VERSION.fullmatch(last_event_id) else None
    if job.state.final and job.version == seen:
        return Response(status_code=204)
    return _Feed(_events(job_id, seen, services), "text/event-stream", {})


async def _events(job_id: str, seen: int | None, services: Services) -> AsyncGenerator[bytes, None]:
    with services.metrics.listeners.labels("events").track_inprogress(), suppress(JobNotFound):
        async with aclosing(services.changes.follow(job_id, seen, HEARTBEAT_SECONDS)) as jobs:
            async for job in jobs:
                if job.version == seen:
                    yield KEEPALIVE_COMMENT
                    continue
                seen = job.version
                yield format_sse_event(
                    event="job", data_str=job.model_dump_json(), id=str(job.version)
                )


@router.get(
    "/{job_id}/stream",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "Fragmented MP4 from its first byte. A stream that can't be gone on "
            "with breaks off: ask again when the job's `stream` has grown.",
            "content": {"video/mp4": {"schema": {"type": "string", "format": "binary"}}},
            "headers": {
                "X-Stream": {
                    "schema": {"type": "integer"},
                    "description": "Which of the job's streams this is.",
                }
            },
        },
        **problems(JobNotFound, VideoNotReady, MediaExpired),
    },
)
async def watch_job(job_id: str, services: ServicesDep) -> Response:
    """The video while it is made, and afterwards.

    curl localhost:8000/jobs/JOB_ID/stream | ffplay -
    """
    reader, codecs = await run_in_threadpool(_begin, job_id, services)
    headers = {"X-Stream": str(reader.stream)}
    if reader.complete:
        headers["Content-Length"] = str(reader.num_bytes)
    media_type = f'video/mp4; codecs="{codecs}"' if codecs else "video/mp4"
    return _Feed(_video(job_id, reader, services), media_type, headers)


def _begin(job_id: str, services: Services) -> tuple[FragmentsReader, str]:
    job = services.jobs.get(job_id).view()
    if job.expired:
        raise MediaExpired(f"the video of job {job.id} has been removed")
    reader = FragmentsReader(services.media.of(job.id))
    codecs = reader.codecs()
    # After a retry, what an abandoned render left is no part of what comes.
    of_old = reader.replaced or (reader.abandoned and not job.state.final)
    if of_old or not reader.num_bytes:
        raise VideoNotReady(
            f"job {job.id} is {job.state.value}, and none of its video is there",
            hint="" if job.state.final else "Ask again soon: it is shown from its first fragment.",
            retry_after_seconds=None if job.state.final else 2,
        )
    return reader, codecs


async def _video(
    job_id: str, reader: FragmentsReader, services: Services
) -> AsyncGenerator[bytes, None]:
    changes = services.changes
    offset = 0
    with (
        services.metrics.listeners.labels("stream").track_inprogress(),
        changes.following(job_id) as bell,
    ):
        while True:
            ended = await run_in_threadpool(_look, job_id, reader, services)
            while chunk := await run_in_threadpool(reader.read, offset, CHUNK_BYTES):
                offset += len(chunk)
                yield chunk
            if reader.complete and offset == reader.num_bytes:
                return
            if ended or reader.replaced or changes.closed:
                log.info("job %s: a stream is broken off after %d bytes", job_id, offset)
                raise _BrokenOff
            await bell.wait(POLL_SECONDS)


def _look(job_id: str, reader: FragmentsReader, services: Services) -> bool:
    """See what has come; tells whether nothing more will."""
    try:
        # Asked first: what was written before the job ended is seen by the refresh.
        ended = services.jobs.get(job_id).view().state.final
    except JobNotFound:
        ended = True
    reader.refresh()
    return ended
