"""How long a render still takes, from how fast its video has come so far."""

from collections import deque
from typing import Final

WINDOW_SECONDS: Final = 8.0
"""Speed is that of the last seconds, in which bursts and pauses even out."""
STABLE_SECONDS: Final = 1.5
"""Estimates have to agree for so long before the first is shown."""
STABLE_SAMPLES: Final = 4
STALLED_SECONDS: Final = 6.0
"""Without any video for so long, nobody can say."""
AGREEMENT: Final = 0.25
"""Estimates agree when they differ by no more than this share of what is left, or a second."""
DRIFT: Final = 0.2
"""What is shown follows a changed speed by this share of what is left in a second, or by half a
second: a countdown may go slower or faster, but it does not jump."""


class Pace:
    """The pace of one stream, from its first fragment on; preparation is no part of it."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, float]] = deque()
        self._ends: deque[tuple[float, float]] = deque()
        self._shown_end: float | None = None
        self._shown_at = 0.0

    def see(self, media_seconds: float, total: float, now: float) -> float | None:
        """Note how much video has come, of how much in all.

        Args:
            media_seconds: Never less than before.
            total: Length of the finished video.
            now: A monotonic clock, in seconds.

        Returns:
            How long the rest takes; None while that can't be said.
        """
        if media_seconds <= 0:
            return None
        if not self._samples or media_seconds > self._samples[-1][1]:
            self._samples.append((now, media_seconds))
        while len(self._samples) > 2 and self._samples[1][0] <= now - WINDOW_SECONDS:
            self._samples.popleft()
        end = self._estimate(max(0.0, total - media_seconds), now)
        if end is None:
            self._ends.clear()
            self._shown_end = None
        elif self._shown_end is not None:
            self._drift(end, now)
        elif self._agreed(end, now):
            self._shown_end, self._shown_at = end, now
        return None if self._shown_end is None else round(max(0.0, self._shown_end - now), 1)

    def _estimate(self, left: float, now: float) -> float | None:
        (began, first), (latest, last) = self._samples[0], self._samples[-1]
        if last <= first or now <= began or now - latest >= STALLED_SECONDS:
            return None
        return now + left * (now - began) / (last - first)

    def _agreed(self, end: float, now: float) -> bool:
        self._ends.append((now, end))
        # The oldest kept one is at least as old as estimates have to be.
        while len(self._ends) > STABLE_SAMPLES and self._ends[1][0] <= now - STABLE_SECONDS:
            self._ends.popleft()
        if now - self._ends[0][0] < STABLE_SECONDS or len(self._ends) < STABLE_SAMPLES:
            return False
        ends = [end for _, end in self._ends]
        return max(ends) - min(ends) <= max(1.0, AGREEMENT * (end - now))

    def _drift(self, end: float, now: float) -> None:
        assert self._shown_end is not None  # noqa: S101 - only called once it is shown
        furthest = (now - self._shown_at) * max(0.5, DRIFT * (self._shown_end - now))
        self._shown_end += max(-furthest, min(furthest, end - self._shown_end))
        self._shown_at = now
