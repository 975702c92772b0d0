"""The rhythm of speech that a head follows: phrases, pauses and stressed syllables."""

import math
from collections import deque
from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np

from gpu_service.data import SPEECH_RATE, Samples

ROW_SECONDS: Final = 0.01
PEAK_ROWS: Final = 8
"""A syllable's peak is known once it was quieter for so many rows."""

_HOP: Final = round(ROW_SECONDS * SPEECH_RATE)
_QUIETEST_POWER: Final = 1e-14
_FAINTEST_SPEECH_DB: Final = -75.0
_RANGE_DB: Final = 24.0
_ABOVE_FLOOR_DB: Final = 8.0
_PEAK_FALL_DB: Final = 2.0 * ROW_SECONDS
_FLOOR_RISE_DB: Final = 3.0 * ROW_SECONDS
_SYLLABLE_SECONDS: Final = 0.05
_RUNNING_SECONDS: Final = 1.5
_PAUSE_ROWS: Final = 30
"""Shorter silences are stops and not pauses."""
_PHRASE_ROWS: Final = 12
_FIRST_MEAN: Final = 0.4
"""Of the speaker's range, until more has been heard."""
_STANDS_OUT: Final = 0.06
"""How much louder than the running mean a stressed syllable is, of the speaker's range."""
_STRONGEST: Final = 0.30


class Beat(NamedTuple):
    """What the speech did in one row."""

    speaking: bool
    starts: bool
    """A phrase begins."""
    ends: bool
    """A phrase has ended."""
    stress: float
    """How much the syllable stands out that peaked PEAK_ROWS rows ago, in [0, 1]; 0 for none."""


class SpeechRhythm:
    """Follows the rhythm of a speech that arrives in pieces, whatever its level."""

    def __init__(self) -> None:
        self._left = np.empty(0, np.float32)
        self._peak = _FAINTEST_SPEECH_DB
        self._floor: float | None = None
        self._syllable = 0.0
        self._running = _FIRST_MEAN
        self._spoken_rows = 0
        self._quiet_rows = _PAUSE_ROWS
        self._syllables: deque[float] = deque([0.0] * (2 * PEAK_ROWS + 1), 2 * PEAK_ROWS + 1)

    def take(self, samples: Samples) -> Iterator[Beat]:
        """The rows that the next piece of the speech completes."""
        joined = np.concatenate((self._left, samples))
        rows = joined[: len(joined) // _HOP * _HOP].reshape(-1, _HOP).astype(np.float64)
        self._left = joined[rows.size :]
        for power in rows.var(axis=1).tolist():
            yield self.follow(10 * math.log10(power + _QUIETEST_POWER))

    def silence(self) -> Beat:
        """A row in which nothing is heard."""
        return self.follow(10 * math.log10(_QUIETEST_POWER))

    def follow(self, level: float) -> Beat:
        """Take the level of the next row, in dB of full scale."""
        self._peak = max(level, self._peak - _PEAK_FALL_DB, _FAINTEST_SPEECH_DB)
        floor = level if self._floor is None else self._floor
        bottom = self._peak - _RANGE_DB
        # Lower it would change nothing now, and take half a minute to rise from digital silence to
        # a noise that sets in.
        self._floor = max(min(level, floor + _FLOOR_RISE_DB), bottom - _ABOVE_FLOOR_DB)
        speaking = level > max(bottom, self._floor + _ABOVE_FLOOR_DB)
        loudness = min(max((level - bottom) / _RANGE_DB, 0.0), 1.0) if speaking else 0.0
        self._syllable += (loudness - self._syllable) * ROW_SECONDS / _SYLLABLE_SECONDS
        if speaking:
            self._running += (loudness - self._running) * ROW_SECONDS / _RUNNING_SECONDS
        self._syllables.append(self._syllable)
        starts, ends = self._phrase(speaking)
        return Beat(speaking, starts, ends, self._stress())

    def _phrase(self, speaking: bool) -> tuple[bool, bool]:
        starts = ends = False
        if speaking:
            starts = self._quiet_rows >= _PAUSE_ROWS
            self._spoken_rows = 1 if starts else self._spoken_rows + 1
            self._quiet_rows = 0
        else:
            self._quiet_rows += 1
            ends = self._quiet_rows == _PAUSE_ROWS and self._spoken_rows >= _PHRASE_ROWS
        return starts, ends

    def _stress(self) -> float:
        peak = self._syllables[PEAK_ROWS]
        above = peak - self._running - _STANDS_OUT
        if above <= 0 or peak < max(self._syllables) or peak == self._syllables[PEAK_ROWS + 1]:
            return 0.0
        return min(max(above / _STRONGEST, 0.05), 1.0)
