"""A job as the backend shows it."""

from datetime import datetime
from enum import StrEnum
from typing import Literal

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
    PREPARING = "preparing"
    RENDERING = "rendering"
    FINISHING = "finishing"
    DONE = "done"


class JobView(BaseModel):
    """One job, without its media."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    id: str
    state: JobState
    stage: JobStage
    progress: float
    """From 0 to 1, over the whole job."""
    created_at: datetime
    """UTC."""
    started_at: datetime | None = None
    finished_at: datetime | None = None
    options: LipSyncOptions
    engine: str | None = None
    """The engine that renders, once the GPU host has chosen it."""
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
