"""Renders in threads of their own: the event loop stays free, and no more run than agreed."""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, Generic, TypeVar

from contracts.errors import Busy, EngineBusy, LipSyncError, RenderFailed
from contracts.records import Framed, Record
from gpu_service.render import Emit

log = logging.getLogger(__name__)
T = TypeVar("T")

RETRY_AFTER_SECONDS: Final = 5


class Run(Generic[T]):
    """One job in its thread, and the records that come of it.

    Records wait without limit: a slow reader must not hold up the render, which others wait for.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._records: asyncio.Queue[Framed | None] = asyncio.Queue()
        self._stopped: LipSyncError | None = None
        self._result: asyncio.Future[T] = loop.create_future()

    def emit(self, record: Record, payload: bytes) -> None:
        """Hand on a record; called from the job's thread.

        Raises:
            LipSyncError: The job was stopped, and why.
        """
        if self._stopped:
            raise self._stopped
        self._loop.call_soon_threadsafe(self._records.put_nowait, Framed(record, payload))

    def end(self, job: asyncio.Future[T]) -> None:
        """Take what the job's thread gave."""
        error = job.exception()
        if error is None:
            self._result.set_result(job.result())
        elif isinstance(error, LipSyncError):
            self._result.set_exception(error)
        else:
            log.error("a render failed", exc_info=error)
            self._result.set_exception(RenderFailed("the engine stopped half-way"))
        # Marked as seen, because a caller who has gone never asks.
        self._result.exception()
        self._records.put_nowait(None)

    async def next(self) -> Framed | None:
        """The next record, or None when the job has ended."""
        return await self._records.get()

    def result(self) -> T:
        """What the job gave, or its LipSyncError raised; only after its last record."""
        return self._result.result()

    def stop(self, reason: LipSyncError) -> None:
        """Have the job end at its next record; the first reason counts."""
        self._stopped = self._stopped or reason


class Renders:
    """Starts jobs, and refuses more at a time than agreed.

    Args:
        max_concurrent: How many jobs may run.
    """

    def __init__(self, max_concurrent: int) -> None:
        self._max_concurrent = max_concurrent
        self._threads = ThreadPoolExecutor(max_concurrent, thread_name_prefix="render")
        self._running: set[Run[Any]] = set()

    @property
    def running(self) -> int:
        """How many jobs run now."""
        return len(self._running)

    def start(self, job: Callable[[Emit], T]) -> Run[T]:
        """Start a job; call it on the event loop.

        Raises:
            EngineBusy: As many run already as may.
        """
        if len(self._running) >= self._max_concurrent:
            raise EngineBusy(
                f"{len(self._running)} of {self._max_concurrent} renders run already",
                retry_after_seconds=RETRY_AFTER_SECONDS,
            )
        loop = asyncio.get_running_loop()
        run: Run[T] = Run(loop)
        self._running.add(run)
        future = loop.run_in_executor(self._threads, job, run.emit)

        def ended(future: asyncio.Future[T]) -> None:
            self._running.discard(run)
            run.end(future)

        future.add_done_callback(ended)
        return run

    def stop(self) -> None:
        """Have every job end at its next record, while its caller can still be told."""
        for run in self._running:
            reason = Busy(
                "the GPU host is being stopped",
                hint="Start it and try again.",
                retry_after_seconds=RETRY_AFTER_SECONDS,
            )
            run.stop(reason)

    async def close(self) -> None:
        """Stop every job and wait for its thread."""
        self.stop()
        await asyncio.to_thread(self._threads.shutdown)
