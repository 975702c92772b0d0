"""Whether somebody speaks, and how loud for this speaker, whatever the level of the recording."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from gpu_service.audio.speech_features import BANDS, BLOCK_ROWS, HOP, LEVEL, Rows
from gpu_service.data import SPEECH_RATE

PAST: Final = 40
"""Rows of context before the rows that are due."""
AHEAD: Final = 8
"""Rows of context after the rows that are due."""
CONTEXT: Final = PAST + BLOCK_ROWS + AHEAD

_ROW_SECONDS: Final = HOP / SPEECH_RATE
_AVERAGE_ROWS: Final = 5
_NUM_AVERAGES: Final = CONTEXT - _AVERAGE_ROWS
_DUE: Final = np.arange(BLOCK_ROWS)[:, None]
_AVERAGED: Final = 1 + np.arange(_NUM_AVERAGES)[:, None] + np.arange(_AVERAGE_ROWS)
_AROUND: Final = _DUE + np.arange(_NUM_AVERAGES - BLOCK_ROWS + 1)
_NEXT: Final = _AROUND[:, -AHEAD + 1 :]
# Below it there is no sound at all, only what resampling and lossy codecs leave of zeros.
_SILENCE_DB: Final = -105.0
_FAINTEST_SPEECH_DB: Final = -60.0
# Averaged over 50 ms, a band of steady noise wanders by 3 to 5 dB within half a second.
_STEADY_DB, _LIVELY_DB = 7.0, 11.0
_LIVELIEST_BANDS: Final = 3
_RANGE_DB: Final = 30.0
_NARROWEST_RANGE_DB: Final = 12.0
_ABOVE_FLOOR_DB: Final = 6.0
_FLOOR_RISE_DB: Final = 2.0 * _ROW_SECONDS
_PEAK_FALL_DB: Final = 3.0 * _ROW_SECONDS
_GATE_FALL: Final = 3.0 * _ROW_SECONDS
# A vowel that is drawn out is as steady as a hum. But it is about as loud as the speech before it,
# far above the room, and that speech lasted longer than the onset of a hum seems lively.
_HELD_MARGIN_DB: Final = 12.0
_SPOKEN_ROWS: Final = 60
_HELD_ROWS: Final = 200


class SpeechLevel:
    """Follows the level of the speaker and of the room.

    The spectrum of speech changes its form all the time, that of noise and hum does not: what was
    steady over the whole context is no speech, however loud and however it swells. So nothing has
    to be known of the level beforehand. Only a vowel that speech runs into may be steady a while.
    """

    def __init__(self) -> None:
        self._gate = 0.0
        self._floor: float | None = None
        self._peak = _FAINTEST_SPEECH_DB
        self._spoken_rows = 0
        self._held_rows = 0

    def follow(self, context: Rows) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Take the next (CONTEXT, NUM_COLUMNS) rows, of which the BLOCK_ROWS after PAST are due.

        Returns:
            Two (BLOCK_ROWS,) arrays in [0, 1]: whether somebody speaks, and how loud within the
            speaker's own range.
        """
        sums = context[:, : LEVEL + 1].cumsum(axis=0)
        averages = (sums[_AVERAGE_ROWS:] - sums[:-_AVERAGE_ROWS]) / _AVERAGE_ROWS
        sounding = context[_AVERAGED, LEVEL].min(axis=1) > _SILENCE_DB
        liveliness = _liveliness(averages[:, BANDS], sounding).tolist()
        coming = averages[_NEXT, LEVEL]
        quietest, loudest = coming.min(axis=1).tolist(), coming.max(axis=1).tolist()
        levels = context[PAST : PAST + BLOCK_ROWS, LEVEL].tolist()
        gate, loudness = np.empty(BLOCK_ROWS), np.empty(BLOCK_ROWS)
        for row in range(BLOCK_ROWS):
            self._step(liveliness[row], quietest[row], loudest[row])
            gate[row], loudness[row] = self._gate, self._loudness(levels[row])
        return gate, loudness

    def _step(self, liveliness: float, quietest: float, loudest: float) -> None:
        lively = min(max((liveliness - _STEADY_DB) / (_LIVELY_DB - _STEADY_DB), 0.0), 1.0)
        fall = _GATE_FALL
        if lively > 0.5:
            self._spoken_rows, self._held_rows = self._spoken_rows + 1, 0
        elif self._is_held(quietest):
            self._held_rows += 1
            fall = 0.0
        else:
            self._spoken_rows = 0
        self._gate = max(lively, self._gate - fall)
        if quietest > _SILENCE_DB:
            known = quietest if self._floor is None else self._floor + _FLOOR_RISE_DB
            self._floor = min(quietest, known)
        if self._gate >= 0.5:
            self._peak = max(loudest, self._peak - _PEAK_FALL_DB, _FAINTEST_SPEECH_DB)

    def _is_held(self, quietest: float) -> bool:
        """Whether a steady sound is a drawn-out vowel of the speech that ran into it."""
        if self._spoken_rows < _SPOKEN_ROWS or self._held_rows >= _HELD_ROWS:
            return False
        floor = self._peak if self._floor is None else self._floor
        return quietest >= max(self._peak - _HELD_MARGIN_DB, floor + _HELD_MARGIN_DB)

    def _loudness(self, level: float) -> float:
        bottom = self._peak - _RANGE_DB
        if self._floor is not None:
            bottom = max(bottom, self._floor + _ABOVE_FLOOR_DB)
        bottom = min(bottom, self._peak - _NARROWEST_RANGE_DB)
        return min(max((level - bottom) / (self._peak - bottom), 0.0), 1.0)


def _liveliness(averages: NDArray[np.float64], sounding: NDArray[np.bool_]) -> NDArray[np.float64]:
    """How many dB the liveliest bands range over against the others, for each row that is due."""
    form = averages - averages.mean(axis=1, keepdims=True)
    heard = sounding[:, None]
    highest = np.where(heard, form, -np.inf)[_AROUND].max(axis=1)
    lowest = np.where(heard, form, np.inf)[_AROUND].min(axis=1)
    ranges = np.sort(np.maximum(highest - lowest, 0.0), axis=1)
    liveliest: NDArray[np.float64] = ranges[:, -_LIVELIEST_BANDS:].mean(axis=1)
    return liveliest
