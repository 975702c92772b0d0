"""Following a job: who waits hears of each change."""

import asyncio
import math
import threading
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from typing import Final

from backend.jobs.store import JobStore
from contracts.jobs import JobView

POLL_SECONDS: Final = 1.0
"""How soon a change that another process made is noticed."""


class _Bell:
    """Rung from any thread, heard on the event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._rung = asyncio.Event()

    def ring(self) -> None:
        self._loop.call_soon_threadsafe(self._rung.set)

    async def wait(self, seconds: float) -> None:
        """Until it is rung, or the time is over."""
        try:
            # wait_for forgets a cancellation that comes together with the ring, on Python 3.11.
            async with asyncio.timeout(seconds):
                await self._rung.wait()
        except TimeoutError:
            return
        self._rung.clear()


class Changes:
    """Lets any number follow jobs, without a thread for each.

    Args:
        jobs: Where the jobs are; its changes are heard from now on.
    """

    def __init__(self, jobs: JobStore) -> None:
        self._jobs = jobs
        self._lock = threading.Lock()
        self._bells: defaultdict[str, set[_Bell]] = defaultdict(set)
        self.closed = False
        """Whether followers are to go, because the backend stops."""
        jobs.on_change.append(self.ring)

    def close(self) -> None:
        """Send every follower away; a connection that stays open would hold up the stop."""
        self.closed = True
        with self._lock:
            job_ids = list(self._bells)
        for job_id in job_ids:
            self.ring(job_id)

    def ring(self, job_id: str) -> None:
        """Wake those who follow a job; also for what is not in the database, such as fragments."""
        with self._lock:
            bells = list(self._bells.get(job_id, ()))
        for bell in bells:
            try:
                bell.ring()
            except RuntimeError:  # its event loop has ended, and with it whoever listened
                continue

    @contextmanager
    def following(self, job_id: str) -> Iterator[_Bell]:
        """A bell that rings at every change of a job while the block lasts."""
        bell = _Bell()
        with self._lock:
            self._bells[job_id].add(bell)
        try:
            yield bell
        finally:
            with self._lock:
                self._bells[job_id].discard(bell)
                if not self._bells[job_id]:
                    del self._bells[job_id]

    async def follow(
        self, job_id: str, seen: int | None = None, repeat_seconds: float = math.inf
    ) -> AsyncGenerator[JobView, None]:
        """The job now and after each change, until it has ended; changes in between may merge.

        Ends early when the backend stops.

        Args:
            job_id: Which job.
            seen: The version that is known already, and not told again.
            repeat_seconds: After so long without a change the job is told again.

        Raises:
            JobNotFound: There is no such job, or no longer.
        """
        told_at = time.monotonic()
        with self.following(job_id) as bell:
            while True:
                closed = self.closed  # before the look, which so sees what the stop has changed
                view = await asyncio.to_thread(lambda: self._jobs.get(job_id).view())
                if view.version != seen or time.monotonic() - told_at >= repeat_seconds:
                    seen, told_at = view.version, time.monotonic()
                    yield view
                if view.state.final or closed:
                    return
                await bell.wait(min(POLL_SECONDS, repeat_seconds))
