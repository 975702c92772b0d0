"""Removes media that are too old or take too much room, and folders that belong to no job."""

import logging
import threading
import time
from typing import Final

from sqlalchemy.exc import SQLAlchemyError

from backend.jobs.job import Job, utc_now
from backend.jobs.store import JobStore
from backend.staging.store import MediaStore
from contracts.errors import JobNotFound
from contracts.jobs import JobState

log = logging.getLogger(__name__)

EVERY_SECONDS: Final = 60.0
STAGING_SECONDS: Final = 3600.0
"""A folder without a job may be that of an upload which still comes in, but not for so long."""


class _TakenUpAgain(Exception):
    """The job is being retried, and needs its media."""


class Retention:
    """Keeps the disk from filling up; only jobs that have ended lose their media.

    Args:
        jobs: Which jobs there are.
        media: Where their files are.
        ttl_seconds: How long media stay after their job has ended; 0 keeps them for ever.
        budget_bytes: How much room those of ended jobs may take; 0 sets no limit.
    """

    def __init__(
        self, jobs: JobStore, media: MediaStore, ttl_seconds: float, budget_bytes: int
    ) -> None:
        self._jobs = jobs
        self._media = media
        self._ttl_seconds = ttl_seconds
        self._budget_bytes = budget_bytes
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="retention", daemon=True)

    def start(self) -> None:
        """Sweep now and once a minute."""
        self._thread.start()

    def stop(self) -> None:
        """Sweep no more."""
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self.sweep()
            except (OSError, SQLAlchemyError):
                log.exception("old media could not be removed; the next sweep tries again")
            self._stopped.wait(EVERY_SECONDS)

    def sweep(self) -> None:
        """Remove what need not be kept any longer."""
        self._expire_old()
        self._expire_beyond_budget()
        self._remove_strays()

    def _expire_old(self) -> None:
        if not self._ttl_seconds:
            return
        now = utc_now()
        for job in self._jobs.keeping():
            age = now - (job.finished_at or now)
            if age.total_seconds() > self._ttl_seconds:
                self._expire(job.id, "old")

    def _expire_beyond_budget(self) -> None:
        if not self._budget_bytes:
            return
        sizes = {job.id: self._media.num_bytes(job.id) for job in self._jobs.keeping()}
        surplus = sum(sizes.values()) - self._budget_bytes
        for job_id, num_bytes in sizes.items():
            if surplus <= 0:
                return
            if self._expire(job_id, "over the disk budget"):
                surplus -= num_bytes

    def _expire(self, job_id: str, why: str) -> bool:
        def expire(job: Job) -> None:
            if not JobState(job.state).final:
                raise _TakenUpAgain
            job.expire()

        # The database first: whoever sees no `expired` finds the files, unless they were deleted.
        try:
            self._jobs.update(job_id, expire)
        except (JobNotFound, _TakenUpAgain):
            return False
        self._media.remove(job_id)
        log.info("job %s: media removed, being %s", job_id, why)
        return True

    def _remove_strays(self) -> None:
        """Folders of uploads and removals during which the process was killed."""
        names = list(self._media.untouched_since(time.time() - STAGING_SECONDS))
        for i in range(0, len(names), 500):
            some = names[i : i + 500]
            for name in set(some) - self._jobs.known(some):
                self._media.remove(name)
                log.info("a folder of no job was removed: %s", name)
