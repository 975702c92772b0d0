"""Whether somebody speaks, and how loud for this speaker, whatever the level of the recording."""

from typing import Final

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from gpu_service.audio.speech_features import BANDS, BLOCK_ROWS, HOP, LEVEL, Rows
from gpu_service.data import SPEECH_RATE

_ROW_SECONDS: Final = HOP / SPEECH_RATE
_AVERAGE_ROWS: Final = 5
# Below it there is no sound at all, only what resampling and lossy codecs leave of zeros.
_SILENCE_DB: Final = -85.0
_FAINTEST_SPEECH_DB: Final = -65.0
# Averaged over 50 ms, a band of steady noise wanders by 3 to 5 dB within half a second.
_STEADY_DB, _LIVELY_DB = 7.0, 11.0
_LIVELIEST_BANDS: Final = 3
_RANGE_DB: Final = 30.0
_NARROWEST_RANGE_DB: Final = 12.0
_ABOVE_FLOOR_DB: Final = 6.0
_FLOOR_RISE_DB: Final = 6.0 * _ROW_SECONDS
_PEAK_FALL_DB: Final = 3.0 * _ROW_SECONDS
_GATE_FALL: Final = 3.0 * _ROW_SECONDS


class SpeechLevel:
    """Follows the level of the speaker and of the room.

    Speech changes its spectrum all the time, noise and hum don't: what has been steady over the
    whole context is no speech, however loud. So nothing has to be known of the level beforehand.

    Args:
        past: Rows of context before the rows that are due.
        ahead: Rows of context after them.
    """

    def __init__(self, past: int, ahead: int) -> None:
        self._past, self._ahead = past, ahead
        self._gate = 0.0
        self._floor: float | None = None
        self._peak = _FAINTEST_SPEECH_DB

    def follow(self, context: Rows) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Take the next context.

        Returns:
            Two (BLOCK_ROWS,) arrays in [0, 1]: whether somebody speaks, and how loud within the
            speaker's own range.
        """
        averaged = sliding_window_view(context[:, : LEVEL + 1], _AVERAGE_ROWS, axis=0).mean(axis=2)
        sounding = sliding_window_view(context[:, LEVEL], _AVERAGE_ROWS).min(axis=1) > _SILENCE_DB
        liveliness = self._liveliness(averaged[:, BANDS], sounding)
        ahead = sliding_window_view(averaged[self._past - 2 :, LEVEL], self._ahead - 1)
        gate, loudness = np.empty(BLOCK_ROWS), np.empty(BLOCK_ROWS)
        for row in range(BLOCK_ROWS):
            self._step(float(liveliness[row]), float(ahead[row].min()), float(ahead[row].max()))
            gate[row] = self._gate
            loudness[row] = self._loudness(float(context[self._past + row, LEVEL]))
        return gate, loudness

    def _liveliness(
        self, averaged: NDArray[np.float64], sounding: NDArray[np.bool_]
    ) -> NDArray[np.float64]:
        """How many dB the liveliest bands range over, for each row that is due."""
        length = len(averaged) - BLOCK_ROWS + 1
        heard = sounding[:, None]
        highest = sliding_window_view(np.where(heard, averaged, -np.inf), length, axis=0)
        lowest = sliding_window_view(np.where(heard, averaged, np.inf), length, axis=0)
        ranges = np.maximum(highest.max(axis=2) - lowest.min(axis=2), 0.0)
        liveliest: NDArray[np.float64] = np.sort(ranges, axis=1)[:, -_LIVELIEST_BANDS:].mean(axis=1)
        return liveliest

    def _step(self, liveliness: float, quietest: float, loudest: float) -> None:
        lively = min(max((liveliness - _STEADY_DB) / (_LIVELY_DB - _STEADY_DB), 0.0), 1.0)
        self._gate = max(lively, self._gate - _GATE_FALL)
        if quietest > _SILENCE_DB:
            known = quietest if self._floor is None else self._floor + _FLOOR_RISE_DB
            self._floor = min(quietest, known)
        if self._gate >= 0.5:
            self._peak = max(loudest, self._peak - _PEAK_FALL_DB, _FAINTEST_SPEECH_DB)

    def _loudness(self, level: float) -> float:
        bottom = self._peak - _RANGE_DB
        if self._floor is not None:
            bottom = max(bottom, self._floor + _ABOVE_FLOOR_DB)
        bottom = min(bottom, self._peak - _NARROWEST_RANGE_DB)
        return min(max((level - bottom) / (self._peak - bottom), 0.0), 1.0)
