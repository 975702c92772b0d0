"""A job and its legal changes."""

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import JSON, Index
from sqlalchemy.orm import Mapped, mapped_column

from backend.database import Base
from contracts.errors import JobEnded, JobNotRetriable
from contracts.jobs import FailedAttempt, JobStage, JobState, JobView
from contracts.lipsync import LipSyncOptions, RenderReport
from contracts.problem import ErrorBody

_NEXT = {
    JobState.QUEUED: {JobState.RUNNING, JobState.CANCELLED, JobState.FAILED},
    JobState.RUNNING: {JobState.QUEUED, JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED},
    JobState.FAILED: {JobState.QUEUED},
    JobState.CANCELLED: {JobState.QUEUED},
}


def utc_now() -> datetime:
    """The moment as the database keeps it: UTC without a zone, as SQLite would give it back."""
    return datetime.now(UTC).replace(tzinfo=None)


def _utc(moment: datetime | None) -> datetime | None:
    return moment.replace(tzinfo=UTC) if moment else None


class Job(Base):
    """One video to make. Its media lie in the MediaStore under the same id."""

    __tablename__ = "jobs"
    __table_args__ = (
        Index("ix_jobs_queue", "state", "queued_at"),
        Index("ix_jobs_newest", "created_at", "id"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column(default=1)
    state: Mapped[str] = mapped_column(default=JobState.QUEUED)
    stage: Mapped[str] = mapped_column(default=JobStage.WAITING)
    reason: Mapped[str] = mapped_column(default="")
    progress: Mapped[float] = mapped_column(default=0.0)
    media_seconds: Mapped[float] = mapped_column(default=0.0)
    seconds_left: Mapped[float | None]
    stream: Mapped[int] = mapped_column(default=0)
    attempts: Mapped[list[dict[str, Any]]] = mapped_column(JSON, default=list)
    deaths: Mapped[int] = mapped_column(default=0)
    """How often a backend died while it made this job."""
    lease_owner: Mapped[str | None]
    lease_until: Mapped[datetime | None]
    idempotency_key: Mapped[str | None] = mapped_column(unique=True)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    queued_at: Mapped[datetime] = mapped_column(default=utc_now)
    """Its place in the queue; given back or taken up again, a job keeps it."""
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    options: Mapped[dict[str, Any]] = mapped_column(JSON)
    text: Mapped[str | None]
    voice_asked: Mapped[str | None]
    language: Mapped[str | None]
    voice: Mapped[str | None]
    engine: Mapped[str | None]
    gpu_host: Mapped[str | None]
    speech_seconds: Mapped[float | None]
    stage_seconds: Mapped[dict[str, float]] = mapped_column(JSON, default=dict)
    report: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    error: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    callback_url: Mapped[str | None]
    expired: Mapped[bool] = mapped_column(default=False)

    def start(self, owner: str, lease_seconds: float, gpu_host: str) -> None:
        """A worker takes the job, perhaps not for the first time."""
        self._enter(JobState.RUNNING)
        self.renew(owner, lease_seconds)
        self.gpu_host = gpu_host
        self.reason = ""
        self.started_at = utc_now()

    def renew(self, owner: str, lease_seconds: float) -> None:
        """The worker is still at it."""
        self.lease_owner = owner
        self.lease_until = utc_now() + timedelta(seconds=lease_seconds)

    def requeue(self, reason: str = "") -> None:
        """The job goes back undone to its place in the queue; what it has got so far is kept."""
        self._enter(JobState.QUEUED)
        self.stage = JobStage.WAITING
        self.reason = reason
        self.seconds_left = None

    def reach(self, stage: JobStage) -> None:
        """The running job has come so far."""
        self.stage = stage

    def receive(self, seconds: float, total: float, seconds_left: float | None) -> None:
        """So much of the video is there, of so much in all."""
        self.media_seconds = round(seconds, 3)
        self.progress = min(1.0, seconds / total) if total > 0 else 0.0
        self.seconds_left = seconds_left

    def send(self, done: int, total: int, seconds_left: float | None) -> None:
        """So many bytes have left for the GPU host, of so many in all."""
        self.reach(JobStage.UPLOADING)
        self.progress = min(1.0, done / total) if total > 0 else 0.0
        self.seconds_left = seconds_left

    def begin_stream(self, number: int) -> None:
        """The video begins to come from its first frame; the number is that of `Fragments`."""
        self.stream = number
        self.receive(0.0, 0.0, None)

    def count(self, error: ErrorBody) -> None:
        """A render came to nothing through no fault of the connection."""
        attempt = FailedAttempt(
            at=datetime.now(UTC), gpu_host=self.gpu_host or "", error=error
        ).model_dump(mode="json")
        # A new list, because SQLAlchemy does not see changes inside the old one.
        self.attempts = [*self.attempts, attempt]

    def took(self, **seconds: float) -> None:
        """Note how long stages took."""
        self.stage_seconds = {
            **self.stage_seconds,
            **{stage: round(value, 3) for stage, value in seconds.items()},
        }

    def succeed(self, report: RenderReport) -> None:
        """The video is there."""
        self._end(JobState.SUCCEEDED)
        self.report = report.model_dump(mode="json")
        self.engine = report.engine
        self.receive(report.seconds, report.seconds, None)

    def fail(self, error: ErrorBody) -> None:
        """No video will come."""
        self._end(JobState.FAILED)
        self.error = error.model_dump(mode="json")

    def cancel(self) -> None:
        """Somebody wants it no more.

        Raises:
            JobEnded: It has ended.
        """
        if JobState(self.state).final:
            raise JobEnded(f"the job has {_ENDED[JobState(self.state)]}")
        self._end(JobState.CANCELLED)

    def retry(self) -> None:
        """Make it after all, from the start, with the engine that was chosen for it.

        Raises:
            JobNotRetriable: It neither failed nor was cancelled.
        """
        if self.state not in (JobState.FAILED, JobState.CANCELLED):
            raise JobNotRetriable(f"the job {_STANDS[JobState(self.state)]}")
        self.requeue()
        self.queued_at = utc_now()
        self.attempts, self.error, self.deaths = [], None, 0
        self.started_at = self.finished_at = None
        self.stage_seconds = {}
        self.receive(0.0, 0.0, None)

    def expire(self) -> None:
        """Its media are gone."""
        self.expired = True

    def _end(self, state: JobState) -> None:
        self._enter(state)
        self.stage = JobStage.DONE
        self.reason = ""
        self.seconds_left = None
        self.finished_at = utc_now()

    def _enter(self, state: JobState) -> None:
        if state not in _NEXT.get(JobState(self.state), set()):
            raise AssertionError(f"a {self.state} job can't become {state}")
        self.state = state
        self.lease_owner = self.lease_until = None

    def view(self) -> JobView:
        """The job as callers see it."""
        created_at = _utc(self.created_at)
        assert created_at is not None  # noqa: S101 - the column has a default
        return JobView(
            id=self.id,
            version=self.version,
            state=JobState(self.state),
            stage=JobStage(self.stage),
            reason=self.reason,
            progress=self.progress,
            media_seconds=self.media_seconds,
            seconds_left=self.seconds_left,
            stream=self.stream,
            created_at=created_at,
            started_at=_utc(self.started_at),
            finished_at=_utc(self.finished_at),
            options=LipSyncOptions.model_validate(self.options),
            engine=self.engine,
            gpu_host=self.gpu_host,
            voice=self.voice,
            speech_seconds=self.speech_seconds,
            stage_seconds=self.stage_seconds,
            report=RenderReport.model_validate(self.report) if self.report else None,
            error=ErrorBody.model_validate(self.error) if self.error else None,
            attempts=tuple(FailedAttempt.model_validate(each) for each in self.attempts),
            expired=self.expired,
        )


_ENDED = {
    JobState.SUCCEEDED: "succeeded",
    JobState.FAILED: "failed",
    JobState.CANCELLED: "been cancelled",
}
_STANDS = {
    JobState.QUEUED: "is waiting",
    JobState.RUNNING: "is running",
    JobState.SUCCEEDED: "has succeeded",
}
