"""The frames of a video in the order in which a dubbed one shows them."""

from collections.abc import Iterator
from types import TracebackType
from typing import Final, Self

from gpu_service.data import FaceSource, Frame

BACKWARD_BYTES: Final = 64_000_000
"""Most memory that frames take while a video is shown backwards."""


class Footage:
    """Gives frames by their index; cheap in order, forwards or backwards.

    To be used in a `with` statement, in one thread.

    Args:
        source: The video.
    """

    def __init__(self, source: FaceSource) -> None:
        self._source = source
        self._frames: Iterator[Frame] = iter(())
        self._next = -1
        self._held: dict[int, Frame] = {}
        self._stretch = max(1, BACKWARD_BYTES // (3 * source.width * source.height))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop()

    def frame(self, index: int) -> Frame | None:
        """One frame; None where the video has ended before it."""
        if index in self._held:
            return self._held[index]
        if index + 1 in self._held:
            # A decoder only runs forward, so a stretch is decoded and shown from its end.
            self._read(max(0, index + 1 - self._stretch), index)
        elif self._next < 0 or index < self._next:
            self._read(index, index)
        else:
            self._advance(index, index)
        return self._held.get(index)

    def _read(self, first: int, last: int) -> None:
        self._stop()
        self._frames, self._next = self._source.frames(first), first
        self._advance(first, last)

    def _advance(self, first: int, last: int) -> None:
        self._held = {}
        while self._next <= last:
            frame = next(self._frames, None)
            if frame is None:
                return
            if self._next >= first:
                self._held[self._next] = frame
            self._next += 1

    def _stop(self) -> None:
        close = getattr(self._frames, "close", None)
        if close:
            close()
