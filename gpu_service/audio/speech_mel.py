"""Mel spectrum of speech relative to the speaker's own level, the same however speech is cut."""

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gpu_service.data import SPEECH_RATE, Samples

HOP: Final = 160
"""Samples between rows."""
WINDOW: Final = 400
"""Samples that a row hears."""
BLOCK_ROWS: Final = 4
"""Rows are computed this many at a time."""
NUM_BANDS: Final = 40

Rows = NDArray[np.float32]
"""(num_rows, NUM_BANDS): 0 is what a speaker's loudest moments reach in all bands together, -1 is
20 dB below it."""

_LOWEST_HZ, _HIGHEST_HZ = 60.0, 7600.0
_FFT: Final = 512
_BLOCK_SAMPLES: Final = (BLOCK_ROWS - 1) * HOP + WINDOW
_WINDOWS: Final = np.arange(BLOCK_ROWS)[:, None] * HOP + np.arange(WINDOW)
_HANN: Final = np.hanning(WINDOW + 1)[:WINDOW].astype(np.float32)
# A full-scale square wave reads 0 dB.
_POWER_SCALE: Final = 2.0 / (_FFT * float(np.sum(np.square(_HANN, dtype=np.float64))))
_SILENCE_POWER: Final = np.float32(1e-12)
_DB_A_UNIT: Final = 20.0
_LOWEST, _HIGHEST = -3.0, 0.5
_SILENT_ROW: Final = np.full(NUM_BANDS, _LOWEST, np.float32)
_RECENT_ROWS: Final = 100

_AVERAGE_ROWS: Final = 5
_FAINTEST_SPEECH_DB: Final = -65.0
_ATTACK: Final = 0.25
# A speaker who turns quiet is followed; a pause says nothing of how loud the speech goes on.
_FALL_DB, _FALL_IN_PAUSES_DB = 0.03, 0.005
_PAUSE_DB: Final = 25.0


def _filters() -> NDArray[np.float32]:
    """(bins, NUM_BANDS) triangles at even distances of the mel scale (O'Shaughnessy, 1987)."""
    lowest, highest = (2595.0 * np.log10(1.0 + hz / 700.0) for hz in (_LOWEST_HZ, _HIGHEST_HZ))
    edges = 700.0 * (10.0 ** (np.linspace(lowest, highest, NUM_BANDS + 2) / 2595.0) - 1.0)
    bins = np.arange(_FFT // 2 + 1)[:, None] * (SPEECH_RATE / _FFT)
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    triangles = np.clip(np.minimum(rising, falling), 0.0, None)
    # The lowest bands are narrower than a bin: each takes the bin at its middle.
    nearest = np.rint(edges[1:-1] / (SPEECH_RATE / _FFT)).astype(np.intp)
    thin = triangles.sum(axis=0) < 1.0
    triangles[nearest[thin], np.flatnonzero(thin)] = 1.0
    return triangles.astype(np.float32)


_FILTERS: Final = _filters()


class SpeechMel:
    """Rows of a speech that arrives in pieces.

    Row k hears the samples from k·HOP to k·HOP + WINDOW. Every block has the same shape and place
    in the speech, so that rounding can't depend on the cuts either.
    """

    def __init__(self) -> None:
        self._buffer: Samples = np.zeros(0, np.float32)
        self._level = _Level()
        self._recent: Rows = np.zeros((0, NUM_BANDS), np.float32)

    def take(self, samples: Samples) -> Iterator[Rows]:
        """The (BLOCK_ROWS, NUM_BANDS) blocks that these samples complete."""
        self._buffer = np.concatenate((self._buffer, samples))
        while len(self._buffer) >= _BLOCK_SAMPLES:
            rows = self._level.relative(_bands(self._buffer[:_BLOCK_SAMPLES]))
            self._buffer = self._buffer[BLOCK_ROWS * HOP :]
            self._recent = np.concatenate((self._recent, rows))[-_RECENT_ROWS:]
            yield rows

    def finish(self, num_rows: int) -> Iterator[Rows]:
        """Blocks of these many rows more: what is left, then the quietest row of late.

        Silence would be wrong: to the noise of a room its end is a change as speech brings it.
        """
        padded = np.zeros(_BLOCK_SAMPLES, np.float32)
        padded[: len(self._buffer)] = self._buffer
        num_whole = max((len(self._buffer) - WINDOW) // HOP + 1, 0)
        self._buffer = self._buffer[:0]
        last = self._level.relative(_bands(padded))[:num_whole]
        recent = np.concatenate((self._recent, last))
        quiet = recent[recent.sum(axis=1).argmin()] if len(recent) else _SILENT_ROW
        num_rows += -num_rows % BLOCK_ROWS
        rows = np.concatenate((last, np.tile(quiet, (num_rows - num_whole, 1))))
        yield from rows.reshape(-1, BLOCK_ROWS, NUM_BANDS)


def _bands(samples: Samples) -> NDArray[np.float32]:
    power = np.abs(np.fft.rfft(samples[_WINDOWS] * _HANN, _FFT)) ** 2 * _POWER_SCALE
    bands: NDArray[np.float32] = power.astype(np.float32) @ _FILTERS + _SILENCE_POWER
    return bands


class _Level:
    """Follows what the speaker's loudest moments reach, from the first moment on."""

    def __init__(self) -> None:
        self._recent: list[float] = []
        self._peak_db: float | None = None

    def relative(self, bands: NDArray[np.float32]) -> Rows:
        decibels = 10.0 * np.log10(bands)
        peaks = [self._follow(power) for power in bands.sum(axis=1).tolist()]
        rows = (decibels - np.array(peaks, np.float32)[:, None]) / np.float32(_DB_A_UNIT)
        return np.clip(rows, np.float32(_LOWEST), np.float32(_HIGHEST))

    def _follow(self, power: float) -> float:
        self._recent = [*self._recent[1 - _AVERAGE_ROWS :], power]
        level = 10.0 * np.log10(sum(self._recent) / len(self._recent))
        if self._peak_db is None:
            self._peak_db = max(level, _FAINTEST_SPEECH_DB)
        elif level > self._peak_db:
            self._peak_db += _ATTACK * (level - self._peak_db)
        else:
            speaks = level > self._peak_db - _PAUSE_DB
            self._peak_db -= _FALL_DB if speaks else _FALL_IN_PAUSES_DB
            self._peak_db = max(self._peak_db, _FAINTEST_SPEECH_DB)
        return self._peak_db
