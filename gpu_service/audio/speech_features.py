"""Band levels and first formant of speech, a row every 10 ms, the same however it is cut."""

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gpu_service.data import SPEECH_RATE, Samples

HOP: Final = 160
"""Samples between rows."""
WINDOW: Final = 400
"""Samples that a row hears."""
BLOCK_ROWS: Final = 5
"""Rows are computed this many at a time."""

Rows = NDArray[np.float64]
"""(BLOCK_ROWS, NUM_COLUMNS)."""

_BAND_EDGES_HZ: Final = (150, 400, 800, 1500, 2500, 4000, 7800)
BANDS: Final = slice(0, 6)
"""Columns: level of each band, in dB of full scale."""
LEVEL: Final = 6
"""Column: level from 150 Hz to 4 kHz, in dB of full scale."""
HISS: Final = 7
"""Column: share of the energy above 150 Hz that lies above 2.5 kHz, in [0, 1]."""
F1: Final = 8
"""Column: first formant, in Hz."""
NUM_COLUMNS: Final = 9

_FFT: Final = 512
_BIN_HZ: Final = SPEECH_RATE / _FFT
_WINDOWS: Final = np.arange(BLOCK_ROWS)[:, None] * HOP + np.arange(WINDOW)
_BLOCK_SAMPLES: Final = (BLOCK_ROWS - 1) * HOP + WINDOW
_HANN: Final = np.hanning(WINDOW + 1)[:WINDOW]
# A full-scale square wave reads 0 dB.
_POWER_SCALE: Final = 2.0 / (_FFT * float(np.sum(_HANN**2)))
_SILENCE_POWER: Final = 1e-12
_BAND_BINS: Final = np.rint(np.array(_BAND_EDGES_HZ) / _BIN_HZ).astype(np.intp)

_LPC_ORDER: Final = 10
_LPC_BINS: Final = 129
_LPC_HZ: Final = np.arange(_LPC_BINS) * _BIN_HZ
_PRE_EMPHASIS: Final = np.abs(1 - 0.95 * np.exp(-1j * np.pi * _LPC_HZ / 4000)) ** 2
# Widens each formant by some 60 Hz, so that the model follows formants and not single harmonics.
_LAG_WINDOW: Final = np.exp(-0.5 * (2 * np.pi * 60 * np.arange(_LPC_ORDER + 1) / 8000) ** 2)
_TOEPLITZ: Final = np.abs(np.subtract.outer(np.arange(_LPC_ORDER), np.arange(_LPC_ORDER)))
_F1_BINS: Final = slice(int(220 / _BIN_HZ), int(1050 / _BIN_HZ))


class SpeechFeatures:
    """Rows of features of a speech that arrives in pieces.

    Row k hears the samples from k·HOP to k·HOP + WINDOW. Every block has the same shape and place
    in the speech, so that rounding can't depend on the cuts either.
    """

    def __init__(self) -> None:
        self._buffer: Samples = np.zeros(0, np.float32)
        self._started = False

    def take(self, samples: Samples) -> Iterator[Rows]:
        """The blocks that these samples complete."""
        self._buffer = np.concatenate((self._buffer, samples))
        while len(self._buffer) >= _BLOCK_SAMPLES:
            yield _block(self._buffer[:_BLOCK_SAMPLES])
            self._started = True
            self._buffer = self._buffer[BLOCK_ROWS * HOP :]

    def finish(self) -> Rows:
        """The rows that fill no block; in all the speech there is one row at least."""
        num_rows = max((len(self._buffer) - WINDOW) // HOP + 1, 0 if self._started else 1)
        padded = np.zeros(_BLOCK_SAMPLES, np.float32)
        padded[: len(self._buffer)] = self._buffer
        return _block(padded)[:num_rows]


def _block(samples: Samples) -> Rows:
    power = np.abs(np.fft.rfft(samples[_WINDOWS] * _HANN, _FFT)) ** 2 * _POWER_SCALE
    bands = np.add.reduceat(power, _BAND_BINS, axis=1)[:, :-1] + _SILENCE_POWER
    rows = np.empty((BLOCK_ROWS, NUM_COLUMNS))
    rows[:, BANDS] = 10 * np.log10(bands)
    rows[:, LEVEL] = 10 * np.log10(bands[:, :5].sum(axis=1))
    rows[:, HISS] = bands[:, 4:].sum(axis=1) / bands.sum(axis=1)
    rows[:, F1] = _first_formant(power[:, :_LPC_BINS])
    return rows


def _first_formant(power: NDArray[np.float64]) -> NDArray[np.float64]:
    """First formant of each row, in Hz.

    Linear prediction on the band below 4 kHz alone (Makhoul, "Spectral linear prediction", 1975),
    then the centre of the model's peaks in the formant's range: a centre does not jump when the
    first and second peak change places.
    """
    correlation = np.fft.irfft(power * _PRE_EMPHASIS, axis=1)[:, : _LPC_ORDER + 1] * _LAG_WINDOW
    correlation[:, 0] = correlation[:, 0] * 1.0001 + _SILENCE_POWER
    predictor = np.linalg.solve(correlation[:, _TOEPLITZ], correlation[:, 1:, None])[:, :, 0]
    whitener = np.concatenate((np.ones((len(power), 1)), -predictor), axis=1)
    weight = np.abs(np.fft.rfft(whitener, 2 * (_LPC_BINS - 1)))[:, _F1_BINS] ** -4
    centre: NDArray[np.float64] = (weight * _LPC_HZ[_F1_BINS]).sum(axis=1) / weight.sum(axis=1)
    return centre
