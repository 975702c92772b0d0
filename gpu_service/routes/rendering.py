"""One render in a thread of its own, kept so that many may follow it."""

import asyncio
import copy
import logging
import uuid
from collections.abc import AsyncIterator, Callable
from typing import Final

from contracts.errors import LipSyncError, RenderFailed
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

HEARTBEAT_SECONDS: Final = 2.0
"""Longest silence on the wire while a render works or waits."""
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
