"""Gives waiting jobs to GPU hosts, makes each in a thread, and decides what becomes of it."""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from backend.gpu.hosts import GpuHosts, Place
from backend.gpu.stop import Stop
from backend.jobs.faults import HOST_FAULTS, counts, field_of, is_trouble
from backend.jobs.job import Job
from backend.jobs.owner import is_dead, new_owner
from backend.jobs.steps import Steps, Task
from backend.jobs.store import JobStore, LeaseLost
from contracts.errors import Busy, Conflict, JobNotFound, LipSyncError, RenderFailed
from contracts.jobs import JobState
from contracts.lipsync import RenderReport

log = logging.getLogger(__name__)

MAX_DEATHS: Final = 10
"""A job during which the process died so often is taken for the cause."""
MAX_LOOKED_AT: Final = 500
"""So many waiting jobs are looked at for one that a free host can make."""
POLL_SECONDS: Final = 1.0
"""How soon a job that another process accepted, and the end of a host's pause, is noticed."""
PASSED_SECONDS: Final = 30.0
"""Jobs that came so much later, twice that for each failure, pass one on which hosts failed."""
MAX_DOUBLED: Final = 10
FIRST_TROUBLE_SECONDS: Final = 5.0
MAX_TROUBLE_SECONDS: Final = 60.0
BUSY_SECONDS: Final = 5.0
"""How long a host that says it is busy gets no job, unless it says."""


@dataclass
class _Running:
    """A job that this worker makes."""

    stop: Stop
    thread: threading.Thread | None = None
    """None while the job is only being claimed."""


class Worker:
    """Makes jobs, the oldest first, as GPU hosts have room for them.

    Args:
        jobs: Where they are.
        steps: What is done for one.
        hosts: Where they are rendered.
        max_running: How many are made at the same time.
        max_attempts: A job has failed after so many attempts that count.
        lease_seconds: A job whose worker has been silent for so long is another's to take.
    """

    def __init__(
        self,
        jobs: JobStore,
        steps: Steps,
        hosts: GpuHosts,
        *,
        max_running: int = 8,
        max_attempts: int = 3,
        lease_seconds: float = 15.0,
    ) -> None:
        self._jobs = jobs
        self._steps = steps
        self._hosts = hosts
        self._max_running = max_running
        self._max_attempts = max_attempts
        self._lease_seconds = lease_seconds
        self._owner = new_owner()
        self._lock = threading.Lock()
        self._running: dict[str, _Running] = {}
        self._num_faults: Counter[str] = Counter()
        """How often a host failed on a job, by its id."""
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._num_troubles = 0
        self._resume_at = 0.0
        self._threads = [
            threading.Thread(target=target, name=f"jobs-{name}", daemon=True)
            for name, target in (("queue", self._run), ("lease", self._keep_leases))
        ]

    @property
    def stopping(self) -> bool:
        """Whether the backend ends; what it has not made, it makes when it runs again."""
        return self._stopping.is_set()

    def start(self) -> None:
        """Take up what an earlier process left undone, then work."""
        self._take_back(is_dead)
        self._jobs.on_change.append(self._heard)
        self._hosts.on_news.append(self._wake.set)
        for thread in self._threads:
            thread.start()

    def stop(self, timeout_seconds: float = 5.0) -> None:
        """Give running jobs back undone and end the threads; the next start takes them up.

        What a GPU host renders goes on there, for whoever asks for it next. A second call does
        nothing.
        """
        if self._stopping.is_set():
            return
        self._stopping.set()
        self._wake.set()
        with self._lock:
            running = dict(self._running)
        for each in running.values():
            each.stop.detach()
        deadline = time.monotonic() + timeout_seconds
        for thread in (*self._threads, *(each.thread for each in running.values())):
            if thread is not None and thread.is_alive():
                thread.join(max(0.0, deadline - time.monotonic()))
        with self._lock:
            left = list(self._running)
        for job_id in left:
            self._give_back(job_id)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.clear()
            if time.monotonic() >= self._resume_at:
                try:
                    self._give_out()
                except Exception as error:  # noqa: BLE001 - logged there
                    self._trouble(error)
            self._wake.wait(POLL_SECONDS)

    def _give_out(self) -> None:
        waiting = self._jobs.waiting(MAX_LOOKED_AT) if self._has_room() else []
        if waiting:
            self._hosts.ask()
        waiting.sort(key=self._turn)
        for job in waiting:
            if not self._has_room():
                return
            if job.id in self._running:
                continue  # the thread that gave it back has not ended yet, and will tell
            if job.deaths >= MAX_DEATHS:
                self._fail(
                    job.id, RenderFailed("the backend died too often while it made this video")
                )
            else:
                self._give(job)

    def _turn(self, job: Job) -> datetime:
        """A job on which hosts fail, for whatever reason, lets others pass, but not for ever."""
        num_faults = self._num_faults[job.id]
        doubled = 2 ** min(num_faults, MAX_DOUBLED)
        return job.queued_at + timedelta(seconds=PASSED_SECONDS * doubled if num_faults else 0)

    def _has_room(self) -> bool:
        with self._lock:
            return len(self._running) < self._max_running and not self.stopping

    def _give(self, job: Job) -> None:
        asked = job.options.get("engine", "auto")
        # `auto` is resolved once: what a host has chosen stays.
        engine = job.engine or (None if asked == "auto" else asked)
        place = self._hosts.take(
            engine,
            begun=job.engine is not None,
            last=job.gpu_host,
            avoid={attempt["gpu_host"] for attempt in job.attempts},
        )
        if place is not None:
            self._start(job.id, place)
            return
        why = self._hosts.why(engine)
        reason = why.detail if why else ""
        if job.reason != reason:
            with suppress(JobNotFound):
                self._jobs.update(job.id, lambda job: _tell(job, reason))

    def _start(self, job_id: str, place: Place) -> None:
        running = _Running(Stop())
        with self._lock:
            self._running[job_id] = running
        begun = False
        try:
            job = self._jobs.claim(job_id, self._owner, self._lease_seconds, place.name)
            if job is not None:
                running.thread = threading.Thread(
                    target=self._make,
                    args=[job, place, running.stop],
                    name=f"job-{job_id}",
                    daemon=True,
                )
                running.thread.start()
                begun = True
        finally:
            if not begun:
                self._forget(job_id)
                place.leave()

    def _forget(self, job_id: str) -> None:
        with self._lock:
            del self._running[job_id]

    def _make(self, job: Job, place: Place, stop: Stop) -> None:
        try:
            self._attempt(job, place, stop)
        except Exception as error:  # noqa: BLE001 - logged there
            # What became of it could not be kept: it is given back when that is possible again.
            self._trouble(error)
        finally:
            self._forget(job.id)
            place.leave()
            self._wake.set()

    def _attempt(self, job: Job, place: Place, stop: Stop) -> None:
        began = time.monotonic()
        task = Task(
            job=job,
            gpu=place.client,
            stop=stop,
            update=lambda change: self._update(job.id, change),
            died=lambda error: self._count(job.id, error),
        )
        try:
            report = self._steps.make(task)
            self._update(job.id, lambda job: job.succeed(report))
        except LeaseLost:
            log.info("job %s: no longer ours", job.id)
        except Exception as error:  # noqa: BLE001 - logged there
            self._look_whether_lost(job.id)
            if self.stopping or stop.is_set():
                log.info("job %s: stopped", job.id)
                # Taken up again since it was to stop, it may be this worker's still.
                self._give_back(job.id)
            else:
                self._judge(job.id, error, place)
        else:
            self._num_troubles = 0
            self._num_faults.pop(job.id, None)
            place.rendered()
            _log_success(job.id, report, time.monotonic() - began)

    def _judge(self, job_id: str, error: Exception, place: Place) -> None:
        if isinstance(error, Busy):
            place.busy(error.retry_after_seconds or BUSY_SECONDS)
            self._give_back(job_id)
        elif isinstance(error, HOST_FAULTS):
            log.warning(
                "job %s: %s failed with %s: %s", job_id, place.name, error.code, error.detail
            )
            place.failed(error)
            self._num_faults[job_id] += 1
            self._give_back(job_id, error.detail)
        elif isinstance(
            error, Conflict
        ):  # an earlier worker of it has not heard yet that it lost it
            self._give_back(job_id)
        elif is_trouble(error):
            self._give_back(job_id, "this computer can't store the video now")
            self._trouble(error)
        elif not isinstance(error, LipSyncError):
            log.error("job %s failed in a way that nobody foresaw", job_id, exc_info=error)
            self._fail(
                job_id, LipSyncError("the job failed in a way that nobody foresaw"), self._owner
            )
        elif counts(error):
            with suppress(LeaseLost):
                self._count(job_id, error)
                self._give_back(job_id)
        else:
            error.field = field_of(error)
            self._fail(job_id, error, self._owner)

    def _count(self, job_id: str, error: LipSyncError) -> None:
        """Count an attempt that failed; the job has failed, and is another's, if it was the last.

        Raises:
            LeaseLost: There is nothing more to do for the job.
        """

        def count(job: Job) -> None:
            job.count(error.body(request_id=job_id))
            if len(job.attempts) >= self._max_attempts:
                job.fail(error.body(request_id=job_id))

        log.warning("job %s: an attempt failed with %s: %s", job_id, error.code, error.detail)
        if JobState(self._update(job_id, count).state).final:
            log.warning("job %s: failed after %d attempts", job_id, self._max_attempts)
            raise LeaseLost(job_id)

    def _fail(self, job_id: str, error: LipSyncError, owner: str | None = None) -> None:
        log.warning("job %s: failed with %s: %s", job_id, error.code, error.detail)
        with suppress(LeaseLost, JobNotFound):
            self._jobs.update(job_id, lambda job: job.fail(error.body(request_id=job_id)), owner)

    def _give_back(self, job_id: str, reason: str = "") -> None:
        with suppress(LeaseLost):
            self._jobs.update(job_id, lambda job: job.requeue(reason), self._owner)
            log.info("job %s: given back undone%s", job_id, f": {reason}" if reason else "")

    def _update(self, job_id: str, change: Callable[[Job], None]) -> Job:
        """Change a job that is this worker's; one that is not is worked on no more."""
        try:
            return self._jobs.update(job_id, change, self._owner)
        except LeaseLost:
            self._look_whether_lost(job_id)
            raise

    def _trouble(self, error: Exception) -> None:
        """Rest a while, because this machine has a problem that no job is to blame for."""
        log.error("no job is begun for a while", exc_info=error)
        seconds = FIRST_TROUBLE_SECONDS * 2 ** min(self._num_troubles, 10)
        self._num_troubles += 1
        self._resume_at = time.monotonic() + min(seconds, MAX_TROUBLE_SECONDS)

    def _heard(self, job_id: str) -> None:
        """A job has changed; called by whoever changed it."""
        running = self._running.get(job_id)
        if running is None:
            if threading.current_thread() is not self._threads[0]:
                self._wake.set()
        elif running.thread is not threading.current_thread():
            self._look_whether_lost(job_id)

    def _look_whether_lost(self, job_id: str) -> None:
        running = self._running.get(job_id)
        if running is None:
            return
        try:
            job = self._jobs.get(job_id)
        except JobNotFound:
            running.stop.set()
            return
        if job.lease_owner == self._owner:
            return
        if JobState(job.state).final:
            running.stop.set()
        else:  # whoever has it now goes on with what its host renders
            running.stop.detach()

    def _keep_leases(self) -> None:
        while not self._stopping.wait(self._lease_seconds / 3):
            try:
                self._renew()
                self._take_back(lambda _: False)
            except Exception:
                log.exception("the leases could not be renewed")

    def _renew(self) -> None:
        with self._lock:
            claimed = {job_id for job_id, each in self._running.items() if each.thread}
        kept = self._jobs.renew(self._owner, self._lease_seconds)
        for job_id in claimed - kept:
            self._look_whether_lost(job_id)
        with self._lock:
            unmade = kept - self._running.keys()
        for job_id in unmade:
            self._give_back(job_id)

    def _take_back(self, dead: Callable[[str], bool]) -> None:
        for job in self._jobs.take_back(dead):
            log.info("job %s is taken up again: its worker died", job.id)


def _tell(job: Job, reason: str) -> None:
    if job.state == JobState.QUEUED:
        job.reason = reason


def _log_success(job_id: str, report: RenderReport, seconds: float) -> None:
    log.info("job %s: succeeded with %s in %.2f s", job_id, report.engine, seconds)
