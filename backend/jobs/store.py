"""Jobs in the database."""

import threading
from collections.abc import Callable

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from backend.database import Sessions
from backend.jobs.job import Job
from contracts.errors import JobNotFound, QueueFull
from contracts.jobs import JobState


class JobStore:
    """Reads and changes jobs; safe to use from every thread of this process."""

    def __init__(self, sessions: Sessions, max_queue: int) -> None:
        self._sessions = sessions
        self._max_queue = max_queue
        self._lock = threading.Lock()

    def add(self, job: Job) -> Job:
        """Accept a job, unless one was accepted under the same key; gives the accepted one.

        Raises:
            QueueFull: As many jobs wait as may.
        """
        with self._lock, self._sessions.begin() as session:
            earlier = self._earlier(session, job.idempotency_key)
            if earlier is None:
                self._check_room(session)
                session.add(job)
            return earlier or job

    def foresee(self, idempotency_key: str | None) -> Job | None:
        """What `add` will say, asked before an upload is staged.

        Returns:
            The job that was accepted under the key; None when `add` will accept a new one.

        Raises:
            QueueFull: As many jobs wait as may.
        """
        # Locked, so that no repeat finds its own first sending in the way between the two looks.
        with self._lock, self._sessions() as session:
            earlier = self._earlier(session, idempotency_key)
            if earlier is None:
                self._check_room(session)
            return earlier

    def _earlier(self, session: Session, key: str | None) -> Job | None:
        return session.scalar(select(Job).where(Job.idempotency_key == key)) if key else None

    def _check_room(self, session: Session) -> None:
        num_waiting = session.scalar(_WAITING) or 0
        if num_waiting >= self._max_queue:
            raise QueueFull(f"{num_waiting} jobs are waiting already", retry_after_seconds=30)

    def get(self, job_id: str) -> Job:
        """The job, detached: a copy that changes nothing.

        Raises:
            JobNotFound: No job has this id.
        """
        with self._sessions() as session:
            job = session.get(Job, job_id)
        if job is None:
            raise JobNotFound(f"there is no job {job_id[:64]!r}")
        return job

    def update(self, job_id: str, change: Callable[[Job], None]) -> Job:
        """Change a job in one transaction, and return it as it is then."""
        with self._lock, self._sessions.begin() as session:
            job = session.get_one(Job, job_id)
            change(job)
        return job

    def unfinished(self) -> list[Job]:
        """Jobs that wait, or that ran when a process ended; oldest first."""
        states = (JobState.QUEUED, JobState.RUNNING)
        with self._sessions() as session:
            return list(
                session.scalars(select(Job).where(Job.state.in_(states)).order_by(Job.created_at))
            )


_WAITING = select(func.count()).select_from(Job).where(Job.state == JobState.QUEUED)
