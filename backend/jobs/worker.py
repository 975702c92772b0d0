"""The threads that make jobs, and those who wait for them."""

import logging
import queue
import threading
import time
from concurrent.futures import Future

from backend.gpu.stop import Stop
from backend.jobs.job import Job
from backend.jobs.steps import Steps
from backend.jobs.store import JobStore
from contracts.errors import (
    Busy,
    Cancelled,
    EngineNotFound,
    EngineUnavailable,
    ImageTooLarge,
    LipSyncError,
    NoFaceFound,
    RenderFailed,
    SpeechTooLong,
    TextRejected,
    UndecodableMedia,
    UnsupportedMedia,
)
from contracts.jobs import JobState

log = logging.getLogger(__name__)

MAX_ATTEMPTS = 3
"""A job during which the process died so often is taken for the cause."""

_FIELDS = (
    ((TextRejected, SpeechTooLong), "text"),
    # Speech was decoded before the job was accepted, so the GPU host means the face.
    ((NoFaceFound, UnsupportedMedia, UndecodableMedia, ImageTooLarge), "image"),
    ((EngineNotFound, EngineUnavailable), "engine"),
)
"""Fields of the form that are at fault when a job fails, by error."""


class Worker:
    """Makes queued jobs one after another in each of its threads."""

    def __init__(self, jobs: JobStore, steps: Steps, num_threads: int) -> None:
        self._jobs = jobs
        self._steps = steps
        self._queue: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._stop = Stop()
        self._lock = threading.Lock()
        self._waiting: dict[str, list[Future[None]]] = {}
        self._threads = [
            threading.Thread(target=self._run, name=f"worker-{i}", daemon=True)
            for i in range(num_threads)
        ]

    def start(self) -> None:
        """Take up what an earlier process left undone, then work."""
        for job in self._jobs.take_back(lambda _: True):
            log.info("job %s is taken up again", job.id)
        for job in self._jobs.waiting(1000):
            self.enqueue(job.id)
        for thread in self._threads:
            thread.start()

    def stop(self, timeout_seconds: float = 5.0) -> None:
        """Give running jobs back undone and end the threads; the next start takes them up.

        Those who wait are told. A second call does nothing.
        """
        if self._stop.is_set():
            return
        self._stop.detach()
        for _ in self._threads:
            self._queue.put(None)
        deadline = time.monotonic() + timeout_seconds
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        with self._lock:
            waiting = list(self._waiting)
        for job_id in waiting:
            told = Busy(f"the backend was stopped; job {job_id} goes on when it runs again")
            self._tell(job_id, told)

    def enqueue(self, job_id: str) -> None:
        """Have a queued job made."""
        self._queue.put(job_id)

    def finished(self, job_id: str) -> Future[None]:
        """Done when the job has reached its final state.

        Dropping the future does nothing to the job.
        """
        future: Future[None] = Future()
        with self._lock:
            if self._stop.is_set():
                future.set_exception(Busy("the backend is being stopped"))
                return future
            self._waiting.setdefault(job_id, []).append(future)
        # Looked up after registering: a job that ends in between is seen by one of the two.
        if JobState(self._jobs.get(job_id).state).final:
            self._tell(job_id)
        return future

    def _tell(self, job_id: str, error: LipSyncError | None = None) -> None:
        with self._lock:
            futures = self._waiting.pop(job_id, [])
        for future in futures:
            if not future.set_running_or_notify_cancel():
                continue
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)

    def _run(self) -> None:
        while (job_id := self._queue.get()) is not None and not self._stop.is_set():
            try:
                self._make(job_id)
            except Exception:
                # Not even its failure could be kept, as on a full disk: the next start takes it up.
                log.exception("job %s is left as it is", job_id)
                self._tell(job_id, _unforeseen())

    def _make(self, job_id: str) -> None:
        try:
            job = self._jobs.claim(job_id, "worker", 3600.0, "")
            if job is None:
                return
            if job.deaths >= MAX_ATTEMPTS:
                raise RenderFailed("the backend died several times while it made this video")
            started = time.monotonic()
            report = self._steps.make(job, self._stop)
            self._jobs.update(job_id, lambda job: job.succeed(report, 0))
            # Not the stages' sum: some work at the same time.
            seconds = time.monotonic() - started
            log.info("job %s: succeeded with %s in %.2f s", job_id, report.engine, seconds)
        except LipSyncError as error:
            if isinstance(error, Cancelled) and self._stop.is_set():
                self._jobs.update(job_id, Job.requeue)
                log.info("job %s: given back undone", job_id)
                return
            error.field = error.field or _field_of(error)
            self._fail(job_id, error)
        except Exception:
            log.exception("job %s failed in a way that nobody foresaw", job_id)
            self._fail(job_id, _unforeseen())
        self._tell(job_id)

    def _fail(self, job_id: str, error: LipSyncError) -> None:
        log.warning("job %s: failed with %s: %s", job_id, error.code, error.detail)
        self._jobs.update(job_id, lambda job: job.fail(error.body(request_id=job_id)))


def _field_of(error: LipSyncError) -> str:
    return next((field for kinds, field in _FIELDS if isinstance(error, kinds)), "")


def _unforeseen() -> LipSyncError:
    return LipSyncError("the job failed in a way that nobody foresaw")
