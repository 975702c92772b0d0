"""The mel spectrogram that Wav2Lip and its SyncNet were trained on, also as the speech arrives.

Source: Rudrabha/Wav2Lip audio.py and hparams.py @5c90fa9, rewritten from a description of its
steps; the mel scale and its triangles are those of M. Slaney, "Auditory Toolbox", 1998.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from gpu_service.data import SPEECH_RATE, Samples

NUM_MELS: Final = 80
HOP: Final = 200
"""Samples between columns."""
COLUMNS_PER_SECOND: Final = SPEECH_RATE // HOP
WINDOW_COLUMNS: Final = 16
"""Columns that the networks hear at once: 0.2 s."""

Mel = NDArray[np.float32]
"""(NUM_MELS, T) in [-4, 4]; -4 is silence. Column t is centred on sample t·HOP."""

_FFT: Final = 800
HALF_COLUMN: Final = _FFT // 2
"""Samples before and after its own that a column hears."""
_LOWEST_HZ: Final = 55.0
_HIGHEST_HZ: Final = 7600.0
_PRE_EMPHASIS: Final = 0.97
_HANN: Final = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_FFT) / _FFT)


def wav2lip_mel(samples: Samples) -> Mel:
    """The mel spectrogram of a whole speech.

    Args:
        samples: (N,) mono in [-1, 1] at 16 kHz.

    Returns:
        (80, 1 + N // 200); beyond its ends the speech counts as silent, as in librosa 0.11.
    """
    stream = MelStream()
    return np.concatenate((stream.take(samples), stream.finish()), axis=1)


class MelStream:
    """The mel spectrogram of a speech that arrives in pieces: the same however it is cut.

    Column t comes after t·HOP + HALF_COLUMN samples.
    """

    def __init__(self) -> None:
        # Pre-emphasised speech that columns to come need, the first preceded by silence.
        self._buffer = np.zeros(HALF_COLUMN)
        self._last = np.zeros(1, np.float32)
        self._num_samples = 0
        self._num_columns = 0

    def take(self, samples: Samples) -> Mel:
        """The columns that these samples complete."""
        self._num_samples += len(samples)
        joined = np.concatenate((self._last, samples)).astype(np.float64)
        self._last = joined[-1:].astype(np.float32)
        self._buffer = np.concatenate((self._buffer, joined[1:] - _PRE_EMPHASIS * joined[:-1]))
        return self._columns()

    def finish(self) -> Mel:
        """The columns that wait for speech that does not come."""
        missing = 1 + self._num_samples // HOP - self._num_columns
        self._buffer = np.concatenate((self._buffer, np.zeros(_FFT)))
        return self._columns()[:, :missing]

    def _columns(self) -> Mel:
        count = max(0, (len(self._buffer) - _FFT) // HOP + 1)
        columns = np.zeros((NUM_MELS, count), np.float32)
        for index in range(count):
            columns[:, index] = _column(self._buffer[index * HOP : index * HOP + _FFT])
        self._buffer = self._buffer[count * HOP :]
        self._num_columns += count
        return columns


def mel_basis() -> NDArray[np.float64]:
    """(NUM_MELS, 401) weights of the spectrum's bins: triangles of equal area on the mel scale."""
    ends = _hz_to_mel(np.array((_LOWEST_HZ, _HIGHEST_HZ)))
    corners = _mel_to_hz(np.linspace(ends[0], ends[1], NUM_MELS + 2))
    bins = np.arange(_FFT // 2 + 1) * (SPEECH_RATE / _FFT)
    rising = (bins - corners[:-2, None]) / np.diff(corners)[:-1, None]
    falling = (corners[2:, None] - bins) / np.diff(corners)[1:, None]
    width = (corners[2:] - corners[:-2])[:, None]
    basis: NDArray[np.float64] = np.maximum(0, np.minimum(rising, falling)) * 2 / width
    return basis


def _hz_to_mel(hz: NDArray[np.float64]) -> NDArray[np.float64]:
    """Slaney's scale: linear up to 1 kHz, which is 15 mel, then 27 mel for a factor of 6.4."""
    logarithmic = 15 + 27 * np.log(np.maximum(hz, 1000) / 1000) / np.log(6.4)
    return np.where(hz < 1000, hz * 3 / 200, logarithmic)


def _mel_to_hz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(mel < 15, mel * 200 / 3, 1000 * 6.4 ** ((mel - 15) / 27))


_BASIS: Final = mel_basis()


def _column(samples: NDArray[np.float64]) -> NDArray[np.float64]:
    # One at a time: the rounding of a product depends on its shape, so on how the speech is cut.
    spectrum = np.abs(np.fft.rfft(samples * _HANN))
    # 0 dB is a full-scale magnitude less 20 dB; from -100 dB up, levels fill the range.
    decibels = 20 * np.log10(np.maximum(_BASIS @ spectrum, 1e-5)) - 20
    return np.clip(8 * (decibels + 100) / 100 - 4, -4, 4)
