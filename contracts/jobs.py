"""A job as the backend shows it."""

from datetime import datetime
from enum import StrEnum
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict

from contracts.lipsync import LipSyncOptions, RenderReport
from contracts.problem import ErrorBody


class JobState(StrEnum):
    """Where a job is in its life; the last three are final."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Whether the state changes no more."""
        return self in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)


class JobStage(StrEnum):
    """What a running job is doing."""

    WAITING = "waiting"
    SPEAKING = "speaking"
    UPLOADING = "uploading"
    PREPARING = "preparing"
    RENDERING = "rendering"
    FINISHING = "finishing"
    DONE = "done"


class FailedAttempt(BaseModel):
    """A render that came to nothing and counts against the job."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    at: datetime
    """UTC."""
    gpu_host: str
    """Name of the host that rendered."""
    error: ErrorBody


_EXAMPLE: Final[dict[str, Any]] = {
    "id": "9f1c2a7d4e5b46c8a0d3f2b1c4e5a6d7",
    "version": 12,
    "state": "running",
    "stage": "rendering",
    "progress": 0.42,
    "media_seconds": 2.6,
    "seconds_left": 4.1,
    "stream": 1,
    "created_at": "2026-01-02T03:04:05Z",
    "started_at": "2026-01-02T03:04:05Z",
    "options": {"engine": "auto", "max_height": 720},
    "engine": "facewarp",
    "gpu_host": "127.0.0.1",
    "voice": "espeak:en-us",
    "speech_seconds": 6.2,
    "stage_seconds": {"speak": 0.08},
}


class JobView(BaseModel):
    """One job, without its media."""

    model_config = ConfigDict(
        frozen=True, use_attribute_docstrings=True, json_schema_extra={"examples": [_EXAMPLE]}
    )

    id: str
    version: int = 0
    """Grows with every change; the `id` of the event that tells of it."""
    state: JobState
    stage: JobStage
    reason: str = ""
    """Why a queued job waits, or why a running one gets no video now, in words; empty when it is
    only its turn that has not come."""
    progress: float
    """From 0 to 1: the share of the speech that has become video; in the stage `uploading`, that of
    the files which has been sent."""
    media_seconds: float = 0.0
    """How much video has come from the GPU host."""
    seconds_left: float | None = None
    """How long the render, or the upload, still takes at the speed seen so far; None while that
    can't be said."""
    stream: int = 0
    """Which of the job's streams `/jobs/{id}/stream` gives; 0 before the first has begun. It grows
    when the video is rendered anew: who watches then starts over."""
    created_at: datetime
    """UTC."""
    started_at: datetime | None = None
    finished_at: datetime | None = None
    options: LipSyncOptions
    engine: str | None = None
    """The engine that renders, once the GPU host has chosen it; a retry keeps it."""
    gpu_host: str | None = None
    """Name of the GPU host that renders or rendered."""
    voice: str | None = None
    """The voice that spoke; none for a recording."""
    speech_seconds: float | None = None
    """Length of the speech, once known."""
    stage_seconds: dict[str, float] = {}
    """Wall seconds by stage, the GPU host's included."""
    report: RenderReport | None = None
    """The GPU host's report, once rendered."""
    error: ErrorBody | None = None
    """Why the job failed."""
    attempts: tuple[FailedAttempt, ...] = ()
    """Renders that failed and were counted; connections that broke are not."""
    expired: bool = False
    """Whether its files have been removed, because they were old or the room was needed."""


class JobPage(BaseModel):
    """Some jobs, newest first."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    jobs: tuple[JobView, ...]
    next_cursor: str | None = None
    """Asks for the jobs after these; None at the end."""


class Voice(BaseModel):
    """A voice that can speak a text."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    id: str
    """As given in the `voice` field, such as `espeak:en-us`."""
    name: str
    """For people."""
    language: str
    """BCP 47 tag."""
    online: bool
    """Whether the text leaves this machine."""
    gender: Literal["female", "male"] | None = None
    """How the voice sounds; None where that is not known."""
    marks: bool
    """Whether the voice tells when it spoke which phoneme."""
