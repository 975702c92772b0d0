"""Renders in threads of their own, one a key: those that run, that wait, and that are kept."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from itertools import accumulate
from typing import Final

from contracts.errors import (
    Busy,
    Cancelled,
    EngineBusy,
    IdempotencyMismatch,
    LipSyncError,
    RenderNotFound,
)
from contracts.lipsync import RenderReport
from gpu_service.routes.rendering import Job, Run

RETRY_AFTER_SECONDS: Final = 5
ALONE_SECONDS: Final = 60.0
"""A render with a key goes on for so long while nobody listens."""
KEPT_SECONDS: Final = 15 * 60.0
"""So long a render with a key can be asked for after its end."""
SWEEP_SECONDS: Final = 1.0
"""How often it is looked whether one of these has passed."""


class Renders:
    """The renders of this host: those that run, those that wait, and those that can be asked for.

    All methods belong to the event loop.

    Args:
        max_concurrent: How many renders may run.
        max_queue: How many more may wait for their turn.
        kept_bytes: What videos that have ended may take. The oldest go first; the one that ended
            last stays, whatever it takes.
        clock: Gives seconds.
    """

    def __init__(
        self,
        max_concurrent: int,
        max_queue: int = 0,
        kept_bytes: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._max_concurrent, self._max_queue = max_concurrent, max_queue
        self._kept_bytes = kept_bytes
        self._clock = clock
        self._threads = ThreadPoolExecutor(max_concurrent, thread_name_prefix="render")
        self._running: set[Run] = set()
        self._waiting: deque[Run] = deque()
        self._kept: dict[str, Run] = {}
        self.draining = False
        """Whether nothing new is begun, because the host is being stopped."""

    @property
    def running(self) -> int:
        """How many renders run now."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """How many wait for their turn."""
        return len(self._waiting)

    def start(self, job: Job, key: str | None = None, content: str = "") -> Run:
        """Render, or have it wait for its turn; with a key that is known, give what there is.

        Args:
            job: What renders.
            key: Ten callers with the same key share one render.
            content: Hash of what is rendered.

        Raises:
            EngineBusy: As many run and wait already as may.
            Busy: The host is being stopped.
            IdempotencyMismatch: The key is that of a render of something else.
        """
        known = self._kept.get(key) if key else None
        if known and known.content != content:
            raise IdempotencyMismatch(
                "another face, speech or other options were sent with this Idempotency-Key before"
            )
        if known and known.joinable:
            return known
        self.require_open()
        busy = len(self._running) >= self._max_concurrent
        if busy and len(self._waiting) >= self._max_queue:
            raise EngineBusy(
                f"{self.running} of {self._max_concurrent} renders run already, and {self.waiting} "
                f"of {self._max_queue} wait",
                retry_after_seconds=RETRY_AFTER_SECONDS,
            )
        run = Run(job, key, content, self._clock())
        if key:
            self._kept[key] = run
        self._waiting.append(run)
        self._go_on()
        return run

    def find(self, key: str) -> Run:
        """The render with this key, as it is now.

        Raises:
            RenderNotFound: There is none, or it is kept no more.
        """
        if key not in self._kept:
            raise RenderNotFound("the GPU host has no render with this key")
        return self._kept[key]

    def delete(self, key: str) -> Run:
        """Stop the render and forget it.

        Raises:
            RenderNotFound: There is none with this key.
        """
        run = self.find(key)
        del self._kept[key]
        self._stop(run, Cancelled("the render was stopped"))
        return run

    def join(self, run: Run) -> None:
        """Somebody listens from now on."""
        run.listeners += 1

    def leave(self, run: Run) -> None:
        """One of those who listened does so no longer; without a key, that is the render's end."""
        run.listeners -= 1
        if run.listeners:
            return
        if not run.last:
            run.quiet_since = self._clock()
        if not run.key:
            self._stop(run, Cancelled("the caller has gone"))

    def sweep(self) -> None:
        """Stop what nobody has listened to for long, and forget what ended long ago."""
        now = self._clock()
        for key, run in list(self._kept.items()):
            quiet = now - run.quiet_since
            if run.last:
                if quiet >= KEPT_SECONDS:
                    del self._kept[key]
            elif not run.listeners and quiet >= ALONE_SECONDS:
                self._stop(run, Cancelled(f"nobody has listened for {ALONE_SECONDS:g} s"))

    async def watch(self) -> None:
        """Sweep again and again."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            self.sweep()

    def require_open(self) -> None:
        """Refuse what is new while the host is being stopped.

        Raises:
            Busy: It is.
        """
        if self.draining:
            raise _stopping()

    async def drain(self, seconds: float) -> None:
        """Begin nothing new, hand back what waits, and give what runs so long to end by itself."""
        self.draining = True
        for run in list(self._waiting):
            self._stop(run, _stopping())
        ends = [asyncio.create_task(run.ended()) for run in self._running]
        if ends:
            _, late = await asyncio.wait(ends, timeout=seconds)
            for end in late:
                end.cancel()
        self.stop()

    def stop(self) -> None:
        """Have every render end at its next record, while its callers can still be told."""
        self.draining = True
        for run in (*self._waiting, *self._running):
            self._stop(run, _stopping())

    async def close(self) -> None:
        """Stop every render and wait for its end; who cancels that waits for none."""
        self.stop()
        for run in list(self._running):
            await run.ended()
        self._threads.shutdown(wait=False)

    def _go_on(self) -> None:
        """Begin with those whose turn it is, and tell the others how many are before them."""
        loop = asyncio.get_running_loop()
        while self._waiting and len(self._running) < self._max_concurrent:
            run = self._waiting.popleft()
            self._running.add(run)
            # Not by the loop's run_in_executor, which never ends where a job raises StopIteration.
            job = self._threads.submit(run.begin(), run.emit)
            job.add_done_callback(partial(self._tell_of_end, loop, run))
        for place, run in enumerate(self._waiting, len(self._running)):
            run.wait_behind(place)

    def _tell_of_end(
        self, loop: asyncio.AbstractEventLoop, run: Run, job: Future[RenderReport]
    ) -> None:
        """Called from the job's thread."""
        with suppress(RuntimeError):  # a host that had to end at once listens no more
            loop.call_soon_threadsafe(self._ended, run, job)

    def _ended(self, run: Run, job: Future[RenderReport]) -> None:
        self._running.discard(run)
        run.end(job.exception() or job.result(), self._clock())
        self._keep_within_budget()
        self._go_on()

    def _stop(self, run: Run, reason: LipSyncError) -> None:
        run.stop(reason)
        if run in self._waiting:
            self._waiting.remove(run)
            run.end(reason, self._clock())
            self._go_on()

    def _keep_within_budget(self) -> None:
        ended = [run for run in self._kept.values() if run.last]
        ended.sort(key=lambda run: run.quiet_since, reverse=True)
        totals = accumulate(run.payloads.num_bytes for run in ended)
        for run, total in zip(ended, totals, strict=True):
            if total > self._kept_bytes and run is not ended[0] and run.key:
                del self._kept[run.key]


def _stopping() -> Busy:
    """What is handed back may be rendered elsewhere: nobody has failed."""
    return Busy(
        "the GPU host is being stopped",
        hint="Start it again, or have another GPU host render this.",
        retry_after_seconds=RETRY_AFTER_SECONDS,
    )
