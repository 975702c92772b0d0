"""Stages of work that overlap: what one makes waits, a little of it, for the next."""

import threading
import time
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from types import TracebackType
from typing import Final, Generic, Self, TypeVar

FRAMES_AHEAD: Final = 4
"""So many source frames may be decoded before they are used; one of 1080p takes 6 MB."""

T = TypeVar("T")


class Ahead(Generic[T]):
    """An iterator that works in a thread of its own, some items ahead of who iterates over this.

    To be used in a `with` statement, which starts the thread, and at its end stops it and waits for
    it. Items come in their order, then what the iterator raised. The thread that iterates also
    closes the iterator, as generators demand.

    Args:
        items: None of them is None. They belong to the thread from here on.
        limit: So many may be made before they are taken.
        name: Of the thread.
    """

    def __init__(self, items: Iterator[T], limit: int, name: str) -> None:
        self._items = items
        self._places = threading.Semaphore(limit)
        self._ready: SimpleQueue[T | None] = SimpleQueue()
        self._stopped = False
        # An executor of one thread keeps what the thread raised, and raises it where it is asked.
        self._executor = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._end: Future[None]
        self.seconds = 0.0
        """How long the iterator has worked."""

    def __enter__(self) -> Self:
        self._end = self._executor.submit(self._work)
        self._end.add_done_callback(lambda _: self._ready.put(None))
        return self

    def __iter__(self) -> Iterator[T]:
        while (item := self._ready.get()) is not None:
            self._places.release()
            yield item
        self._end.result()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stopped = True
        self._places.release()
        self._executor.shutdown()
        if error is None:
            self._end.result()

    def _work(self) -> None:
        try:
            while self._wanted() and (item := self._next()) is not None:
                self._ready.put(item)
        finally:
            if isinstance(self._items, Generator):
                self._items.close()

    def _wanted(self) -> bool:
        """Wait until there is a place for one more item, or none is wanted any longer."""
        self._places.acquire()
        return not self._stopped

    def _next(self) -> T | None:
        started = time.perf_counter()
        try:
            return next(self._items, None)
        finally:
            self.seconds += time.perf_counter() - started
