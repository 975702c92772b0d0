"""A job and its legal changes."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON
from sqlalchemy.orm import Mapped, mapped_column

from backend.database import Base
from contracts.jobs import JobStage, JobState, JobView
from contracts.lipsync import LipSyncOptions, RenderReport
from contracts.problem import ErrorBody

_NEXT = {
    JobState.QUEUED: {JobState.RUNNING, JobState.CANCELLED},
    JobState.RUNNING: {JobState.QUEUED, JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED},
}


def _now() -> datetime:
    # Without a zone, as SQLite would give it back; `view` adds UTC again.
    return datetime.now(UTC).replace(tzinfo=None)


def _utc(moment: datetime | None) -> datetime | None:
    return moment.replace(tzinfo=UTC) if moment else None


class Job(Base):
    """One video to make. Its media lie in the MediaStore under the same id."""

    __tablename__ = "jobs"

    id: Mapped[str] = mapped_column(primary_key=True)
    state: Mapped[str] = mapped_column(default=JobState.QUEUED, index=True)
    stage: Mapped[str] = mapped_column(default=JobStage.WAITING)
    progress: Mapped[float] = mapped_column(default=0.0)
    attempts: Mapped[int] = mapped_column(default=0)
    idempotency_key: Mapped[str | None] = mapped_column(unique=True)
    created_at: Mapped[datetime] = mapped_column(default=_now, index=True)
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    options: Mapped[dict[str, Any]] = mapped_column(JSON)
    text: Mapped[str | None]
    voice_asked: Mapped[str | None]
    language: Mapped[str | None]
    voice: Mapped[str | None]
    engine: Mapped[str | None]
    speech_seconds: Mapped[float | None]
    stage_seconds: Mapped[dict[str, float]] = mapped_column(JSON, default=dict)
    report: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    error: Mapped[dict[str, Any] | None] = mapped_column(JSON)

    def start(self) -> None:
        """A worker takes the job, perhaps not for the first time."""
        self._enter(JobState.RUNNING)
        self.attempts += 1
        self.started_at = _now()
        self.stage_seconds = {}
        self.progress = 0.0

    def requeue(self) -> None:
        """The worker gives the job back undone."""
        self._enter(JobState.QUEUED)
        self.stage = JobStage.WAITING

    def reach(self, stage: JobStage, progress: float) -> None:
        """The running job has come so far; progress never goes back."""
        self.stage = stage
        self.progress = max(self.progress, min(progress, 1.0))

    def took(self, **seconds: float) -> None:
        """Note how long stages took."""
        # A new dict, because SQLAlchemy does not see changes inside the old one.
        self.stage_seconds = {
            **self.stage_seconds,
            **{stage: round(value, 3) for stage, value in seconds.items()},
        }

    def succeed(self, report: RenderReport) -> None:
        """The video is there."""
        self._enter(JobState.SUCCEEDED)
        self.report = report.model_dump(mode="json")
        self.engine = report.engine
        self.reach(JobStage.DONE, 1.0)
        self.finished_at = _now()

    def fail(self, error: ErrorBody) -> None:
        """No video will come."""
        self._enter(JobState.FAILED)
        self.error = error.model_dump(mode="json")
        self.stage = JobStage.DONE
        self.finished_at = _now()

    def _enter(self, state: JobState) -> None:
        if state not in _NEXT.get(JobState(self.state), set()):
            raise AssertionError(f"a {self.state} job can't become {state}")
        self.state = state

    def view(self) -> JobView:
        """The job as callers see it."""
        created_at = _utc(self.created_at)
        assert created_at is not None  # noqa: S101 - the column has a default
        return JobView(
            id=self.id,
            state=JobState(self.state),
            stage=JobStage(self.stage),
            progress=self.progress,
            created_at=created_at,
            started_at=_utc(self.started_at),
            finished_at=_utc(self.finished_at),
            options=LipSyncOptions.model_validate(self.options),
            engine=self.engine,
            voice=self.voice,
            speech_seconds=self.speech_seconds,
            stage_seconds=self.stage_seconds,
            report=RenderReport.model_validate(self.report) if self.report else None,
            error=ErrorBody.model_validate(self.error) if self.error else None,
        )
