"""Renders in threads of their own, each kept so that many may follow it: one render a key."""

import asyncio
import copy
import logging
import time
import uuid
from collections import deque
from collections.abc import AsyncIterator, Callable
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
    RenderFailed,
    RenderNotFound,
)
from contracts.lipsync import RenderReport
from contracts.records import (
    EndRecord,
    ErrorRecord,
    EventRecord,
    Framed,
    InitRecord,
    MediaRecord,
    ProgressRecord,
    Record,
)
from gpu_service.media.spool import Spool
from gpu_service.render import Emit

log = logging.getLogger(__name__)
Job = Callable[[Emit], RenderReport]

RETRY_AFTER_SECONDS: Final = 5
HEARTBEAT_SECONDS: Final = 2.0
"""Longest silence on the wire while a render works or waits."""
ALONE_SECONDS: Final = 60.0
"""A render with a key goes on for so long while nobody listens."""
KEPT_SECONDS: Final = 15 * 60.0
"""So long a render with a key can be asked for after its end."""
SWEEP_SECONDS: Final = 1.0
"""How often it is looked whether one of these has passed."""
_BEGINNING: Final = ProgressRecord(stage="decode", done=0, total=1)


class Run:
    """One render, and what came of it so far, for any number of readers at any place.

    What comes is kept whole until the run is let go: a slow reader must not hold up the render,
    which others wait for. All methods but `emit` belong to the event loop.

    Args:
        job: What renders.
        key: Under which it can be asked for again; None for a render that ends with its caller.
        content: Hash of what is rendered.
        now: When it was asked for.
    """

    def __init__(self, job: Job, key: str | None, content: str, now: float) -> None:
        self.id = uuid.uuid4().hex
        self.key = key
        self.content = content
        self.job: Job | None = job
        self.engine: EventRecord | None = None
        """Says which engine renders, once that is known."""
        self.media: list[InitRecord | MediaRecord] = []
        """The init record and the fragments; the place of each is its `seq`."""
        self.payloads = Spool()
        """What belongs to each of them."""
        self.last: EndRecord | ErrorRecord | None = None
        self.queued = False
        self.listeners = 0
        self.quiet_since = now
        """When the last listener left, or the render ended, whichever came later."""
        self._progress = _BEGINNING
        self._stopped: LipSyncError | None = None
        self._error: LipSyncError | None = None
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()

    @property
    def name(self) -> str:
        """For the log."""
        return f"{self.id} of {self.key}" if self.key else self.id

    @property
    def joinable(self) -> bool:
        """Whether a repeat of the request gets this render; it gets another after an error."""
        return self._stopped is None and self._error is None

    @property
    def error(self) -> LipSyncError | None:
        """Why it ended without a video."""
        # The one that is kept is never raised: it would hold on to all that it passed through.
        return copy.copy(self._error)

    def emit(self, record: Record, payload: bytes) -> None:
        """Hand on a record; called from the job's thread.

        Raises:
            LipSyncError: The job was stopped, and why.
        """
        if self._stopped:
            raise copy.copy(self._stopped)
        if isinstance(record, InitRecord | MediaRecord):
            self.payloads.append(payload)
        self._loop.call_soon_threadsafe(self._take, record)

    def stop(self, reason: LipSyncError) -> None:
        """Have the job end at its next record; the first reason counts."""
        self._stopped = self._stopped or reason

    def wait_behind(self, num_renders: int) -> None:
        """Tell that so many renders come before this one."""
        self.queued = True
        self._take(ProgressRecord(stage="queue", done=0, total=num_renders))

    def begin(self) -> Job:
        """It is this one's turn; gives the job, which is kept no longer."""
        assert self.job  # noqa: S101 - it begins once
        job, self.job, self.queued = self.job, None, False
        self._take(_BEGINNING)
        return job

    def end(self, outcome: RenderReport | BaseException, now: float) -> None:
        """Take what the job gave or raised."""
        self.job, self.queued, self.quiet_since = None, False, now
        if isinstance(outcome, RenderReport):
            self.last = EndRecord(report=outcome)
            log.info(
                "render %s: %.2f s of video with %s, seconds by stage: %s",
                self.name,
                outcome.seconds,
                outcome.engine,
                outcome.stage_seconds,
            )
        else:
            if not isinstance(outcome, LipSyncError):
                log.error("render %s failed", self.name, exc_info=outcome)
                outcome = RenderFailed("the engine stopped half-way")
            self._error = copy.copy(outcome)
            self.last = ErrorRecord(error=outcome.body(self.id))
            log.info("render %s: %s, %s", self.name, outcome.code, outcome.detail)
        self._tell()

    async def begun(self) -> None:
        """Wait until its engine is known, it has ended, or it waits for its turn."""
        while not (self.engine or self.last or self.queued):
            await self._news.wait()

    async def ended(self) -> None:
        """Wait for its end."""
        while not self.last:
            await self._news.wait()

    async def records(self, first: int = 0) -> AsyncIterator[Framed]:
        """What there is and what comes: the engine, media from `first` on, how far it is, the end.

        Of progress only the latest is told, and again where nothing else flows.
        """
        told_engine, told = False, None
        position = first
        while True:
            news = self._news
            if self.engine and not told_engine:
                told_engine = True
                yield Framed(self.engine)
            if self._progress is not told:
                told = self._progress
                yield Framed(told)
            while position < len(self.media):
                # In a thread, because a disk may be slow.
                payload = await asyncio.to_thread(self.payloads.__getitem__, position)
                yield Framed(self.media[position], payload)
                position += 1
            if self.last:
                yield Framed(self.last)
                return
            try:
                await asyncio.wait_for(news.wait(), HEARTBEAT_SECONDS)
            except TimeoutError:
                told = None

    def _take(self, record: Record) -> None:
        match record:
            case EventRecord():
                self.engine = record
            case ProgressRecord():
                self._progress = record
            case InitRecord() | MediaRecord():
                self.media.append(record)
        self._tell()

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()


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
        with suppress(TimeoutError):
            ends = asyncio.gather(*(run.ended() for run in self._running))
            await asyncio.wait_for(ends, seconds)
        self.stop()

    def stop(self) -> None:
        """Have every render end at its next record, while its callers can still be told."""
        self.draining = True
        for run in (*self._waiting, *self._running):
            self._stop(run, _stopping())

    async def close(self) -> None:
        """Stop every render and wait for its thread."""
        self.stop()
        await asyncio.to_thread(self._threads.shutdown)

    def _go_on(self) -> None:
        """Begin with those whose turn it is, and tell the others how many are before them."""
        loop = asyncio.get_running_loop()
        while self._waiting and len(self._running) < self._max_concurrent:
            run = self._waiting.popleft()
            self._running.add(run)
            # Not by the loop's run_in_executor, which never ends where a job raises StopIteration.
            job = self._threads.submit(run.begin(), run.emit)
            job.add_done_callback(partial(loop.call_soon_threadsafe, partial(self._ended, run)))
        for place, run in enumerate(self._waiting, len(self._running)):
            run.wait_behind(place)

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
