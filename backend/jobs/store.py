"""Jobs in the database."""

import base64
import threading
from collections.abc import Callable, Iterable
from datetime import datetime

from sqlalchemy import Select, and_, func, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from backend.database import Database
from backend.jobs.job import Job, utc_now
from contracts.errors import InvalidInput, JobNotFound, QueueFull
from contracts.jobs import JobState


class LeaseLost(Exception):
    """The job is no longer this worker's: it was cancelled, deleted, or given to another."""


class JobStore:
    """Reads and changes jobs; safe to use from every thread, and from several processes.

    Args:
        database: Where the jobs are.
        max_queue: How many may wait.
    """

    def __init__(self, database: Database, max_queue: int) -> None:
        self._database = database
        self._max_queue = max_queue
        # SQLite's own lock is fair to nobody: waiting here keeps threads in order.
        self._lock = threading.Lock()
        self.on_change: list[Callable[[str], None]] = []
        """Called with a job's id after every change, from the thread that made it."""
        self.on_end: list[Callable[[Session, Job], None]] = []
        """Called within the transaction that ends a job."""

    def add(self, job: Job) -> Job:
        """Accept a job, unless one was accepted under the same key; gives the accepted one.

        Raises:
            QueueFull: As many jobs wait as may.
        """
        try:
            with self._lock, self._database.writing() as session:
                earlier = self._earlier(session, job.idempotency_key)
                if earlier is not None:
                    return earlier
                self._check_room(session)
                session.add(job)
        except IntegrityError:
            # Another process accepted the key between the two looks.
            earlier = self.foresee(job.idempotency_key)
            if earlier is None:
                raise
            return earlier
        self._tell(job.id)
        return job

    def foresee(self, idempotency_key: str | None) -> Job | None:
        """What `add` will say, asked before an upload is staged.

        Returns:
            The job that was accepted under the key; None when `add` will accept a new one.

        Raises:
            QueueFull: As many jobs wait as may.
        """
        with self._database.reading() as session:
            earlier = self._earlier(session, idempotency_key)
            if earlier is None:
                self._check_room(session)
            return earlier

    def _earlier(self, session: Session, key: str | None) -> Job | None:
        return session.scalar(select(Job).where(Job.idempotency_key == key)) if key else None

    def _check_room(self, session: Session) -> None:
        waiting = select(func.count()).select_from(Job).where(Job.state == JobState.QUEUED)
        with session.no_autoflush:  # the one that wants to wait is not counted
            num_waiting = session.scalar(waiting) or 0
        if num_waiting >= self._max_queue:
            raise QueueFull(f"{num_waiting} jobs are waiting already", retry_after_seconds=30)

    def get(self, job_id: str) -> Job:
        """The job, detached: a copy that changes nothing.

        Raises:
            JobNotFound: No job has this id.
        """
        with self._database.reading() as session:
            return _found(session.get(Job, _as_id(job_id)), job_id)

    def page(
        self, limit: int, cursor: str | None = None, states: Iterable[JobState] = ()
    ) -> tuple[list[Job], str | None]:
        """Jobs, newest first, and the cursor that asks for those after them.

        Raises:
            InvalidInput: The cursor is none that this gave.
        """
        wanted = select(Job).order_by(Job.created_at.desc(), Job.id.desc()).limit(limit + 1)
        if cursor is not None:
            moment, job_id = _read_cursor(cursor)
            same_moment = and_(Job.created_at == moment, Job.id < job_id)
            wanted = wanted.where(or_(Job.created_at < moment, same_moment))
        if states := tuple(states):
            wanted = wanted.where(Job.state.in_(states))
        with self._database.reading() as session:
            jobs = list(session.scalars(wanted))
        more = len(jobs) > limit
        return jobs[:limit], _cursor(jobs[limit - 1]) if more else None

    def waiting(self, limit: int) -> list[Job]:
        """Queued jobs in the order of the queue."""
        wanted = select(Job).where(Job.state == JobState.QUEUED)
        with self._database.reading() as session:
            return list(session.scalars(wanted.order_by(Job.queued_at, Job.id).limit(limit)))

    def count(self, state: JobState) -> int:
        """How many jobs are in a state."""
        with self._database.reading() as session:
            return session.scalar(select(func.count()).where(Job.state == state)) or 0

    def claim(self, job_id: str, owner: str, lease_seconds: float, gpu_host: str) -> Job | None:
        """Take a queued job; None when it is no longer there to be taken."""
        with self._lock, self._database.writing() as session:
            job = session.get(Job, _as_id(job_id), with_for_update=True)
            if job is None or job.state != JobState.QUEUED:
                return None
            job.start(owner, lease_seconds, gpu_host)
            job.version += 1
        self._tell(job_id)
        return job

    def renew(self, owner: str, lease_seconds: float) -> set[str]:
        """Prolong every lease of a worker, and give the jobs that are still its own."""
        mine = select(Job).where(Job.lease_owner == owner)
        with self._lock, self._database.writing() as session:
            jobs = _locked(session, mine)
            for job in jobs:
                job.renew(owner, lease_seconds)
        return {job.id for job in jobs}

    def take_back(self, is_dead: Callable[[str], bool]) -> list[Job]:
        """Put running jobs back into the queue whose worker has died.

        Args:
            is_dead: Whether the owner of a lease that still runs is known to be dead.
        """
        now = utc_now()
        running = select(Job).where(Job.state == JobState.RUNNING)
        with self._lock, self._database.writing() as session:
            orphans = [
                job
                for job in _locked(session, running)
                if job.lease_owner is None
                or job.lease_until is None
                or job.lease_until < now
                or is_dead(job.lease_owner)
            ]
            for job in orphans:
                job.requeue()
                job.deaths += 1
                job.version += 1
        for job in orphans:
            self._tell(job.id)
        return orphans

    def update(self, job_id: str, change: Callable[[Job], None], owner: str | None = None) -> Job:
        """Change a job in one transaction, and return it as it is then.

        Args:
            job_id: Which one.
            change: Changes it; nothing is kept when it raises.
            owner: The worker that holds its lease, where only that one may change it.

        Raises:
            JobNotFound: No job has this id, and no owner was named.
            LeaseLost: It is not the owner's.
            QueueFull: It had ended and is to wait again, and as many jobs wait as may.
        """
        with self._lock, self._database.writing() as session:
            job = session.get(Job, _as_id(job_id), with_for_update=True)
            if owner is not None and (job is None or job.lease_owner != owner):
                raise LeaseLost(job_id)
            job = _found(job, job_id)
            had_ended = JobState(job.state).final
            change(job)
            job.version += 1
            if JobState(job.state).final and not had_ended:
                for hook in self.on_end:
                    hook(session, job)
            if had_ended and job.state == JobState.QUEUED:
                self._check_room(session)
        self._tell(job_id)
        return job

    def delete(self, job_id: str) -> None:
        """Forget a job; whoever works on it finds its lease lost.

        Raises:
            JobNotFound: No job has this id.
        """
        with self._lock, self._database.writing() as session:
            session.delete(_found(session.get(Job, _as_id(job_id), with_for_update=True), job_id))
        self._tell(job_id)

    def keeping(self) -> list[Job]:
        """Ended jobs whose media are still there, the one that ended first at the front."""
        ended = Job.state.in_([state for state in JobState if state.final])
        wanted = select(Job).where(ended, Job.expired.is_(False))
        with self._database.reading() as session:
            return list(session.scalars(wanted.order_by(Job.finished_at, Job.id)))

    def known(self, job_ids: Iterable[str]) -> set[str]:
        """Those of the ids that are jobs whose media have not expired."""
        wanted = select(Job.id).where(Job.id.in_(list(job_ids)), Job.expired.is_(False))
        with self._database.reading() as session:
            return set(session.scalars(wanted))

    def _tell(self, job_id: str) -> None:
        for listener in self.on_change:
            listener(job_id)


def _locked(session: Session, wanted: Select[Job]) -> list[Job]:
    # In one order, because two that wait for each other's rows would wait for ever.
    return list(session.scalars(wanted.order_by(Job.id).with_for_update()))


def _as_id(job_id: str) -> str:
    # PostgreSQL takes no NUL in a string, and no id of ours has anything but letters and digits.
    if not job_id.isalnum():
        raise JobNotFound(f"there is no job {job_id[:64]!r}")
    return job_id


def _found(job: Job | None, job_id: str) -> Job:
    if job is None:
        raise JobNotFound(f"there is no job {job_id[:64]!r}")
    return job


def _cursor(job: Job) -> str:
    text = f"{job.created_at.isoformat()} {job.id}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _read_cursor(cursor: str) -> tuple[datetime, str]:
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
        moment, _, job_id = text.partition(" ")
        return datetime.fromisoformat(moment).replace(tzinfo=None), _as_id(job_id)
    except (ValueError, JobNotFound) as error:
        raise InvalidInput(
            "the cursor is none that this list gave",
            hint="Leave it out to begin with the newest job.",
            field="cursor",
        ) from error
