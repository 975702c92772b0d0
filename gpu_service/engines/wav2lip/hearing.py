"""The speech as it arrives to what the network hears for each frame."""

from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Final, NamedTuple

import numpy as np

from gpu_service.audio.mel import (
    COLUMNS_PER_SECOND,
    HALF_COLUMN,
    HOP,
    NUM_MELS,
    WINDOW_COLUMNS,
    Mel,
    MelStream,
)
from gpu_service.data import SPEECH_RATE, SpeechChunk, num_frames
from gpu_service.engines.wav2lip.preprocess import Floats

LOOK_AHEAD_SECONDS: Final = Fraction(3, 10)
"""Speech that is taken beyond a frame's time before the frame is drawn."""
_WINDOW_SECONDS: Final = Fraction((WINDOW_COLUMNS - 1) * HOP + HALF_COLUMN, SPEECH_RATE)
"""How far into the speech a window reaches that begins at its frame's time."""
_SILENT: Final = -4.0
_LEVELS_PER_DB: Final = 0.08
"""The mel spectrogram's range of 8 spans 100 dB."""


class Silencer:
    """Turns what is not speech into silence, so that the mouth rests between the words.

    Left to itself, the network moves the mouth to the noise in pauses. A column of the mel
    spectrogram counts as speech by its loudest band, relative to the loudest speech of late: full
    down to 30 dB below it, not at all from 40 dB, and fading to silence in between. After speech
    the sound fades out over 0.15 s; speech is heard at once. The network then draws its own rest
    shape, always the same one, for it always hears the same silence.
    """

    FULL_DB: Final = 30.0
    NONE_DB: Final = 40.0
    QUIETEST_DB: Final = -30.0
    """Speech is never taken to be quieter than this at its loudest, so that noise before the first
    word is none. Good recordings were measured from -15 to -33 dB, white noise 50 dB below full
    scale at -66."""
    FORGET_DB: Final = 5.0 / COLUMNS_PER_SECOND
    """How fast the loudest speech is forgotten, in dB a column."""
    RELEASE: Final = 1 / (0.15 * COLUMNS_PER_SECOND)

    def __init__(self) -> None:
        self._loudest = self.QUIETEST_DB
        self._share = 0.0

    def take(self, mel: Mel) -> Mel:
        """The next columns, with what is no speech faded to silence."""
        shares = np.array([self._next(float(level)) for level in mel.max(axis=0)], np.float32)
        return np.where(shares == 1, mel, _SILENT + (mel - _SILENT) * shares).astype(np.float32)

    def _next(self, level: float) -> float:
        level_db = (level - _SILENT) / _LEVELS_PER_DB - 100
        self._loudest = max(self._loudest - self.FORGET_DB, level_db, self.QUIETEST_DB)
        below = self._loudest - level_db
        share = min(max((self.NONE_DB - below) / (self.NONE_DB - self.FULL_DB), 0.0), 1.0)
        self._share = max(share, self._share - self.RELEASE)
        return self._share


class Heard(NamedTuple):
    """What the network hears for some frames in a row."""

    first_index: int
    windows: Floats
    """(B, 1, 80, 16), one for each frame."""


def batch_size(fps: Fraction) -> int:
    """How many frames are drawn at once: as many as the look-ahead allows.

    It never depends on how the speech is cut, for the network's rounding depends on it.
    """
    return 1 + int((LOOK_AHEAD_SECONDS - _WINDOW_SECONDS) * fps)


def hear(
    speech: Iterable[SpeechChunk], fps: Fraction, silencer: Silencer | None
) -> Iterator[Heard]:
    """Batches of mel windows for all frames of the speech, as it arrives.

    Frame i hears the 16 columns from int(i · 80 / fps) on, as in Wav2Lip's release. Where the
    speech ends within a window, silence follows, so that every moment gets its frame: the release
    leaves out the last 0.12 s.

    Args:
        speech: Cut anywhere.
        fps: Frames per second.
        silencer: What becomes of pauses; None leaves them as they are.
    """
    size, index, taken = batch_size(fps), 0, 0
    stream, columns = MelStream(), _Columns(silencer)
    for chunk in speech:
        taken += len(chunk.samples)
        columns.add(stream.take(chunk.samples))
        while num_frames(taken, fps) >= index + size and columns.end >= _end(index + size - 1, fps):
            yield Heard(index, columns.windows(range(index, index + size), fps))
            index += size
    columns.add(stream.finish())
    total = num_frames(taken, fps)
    columns.add(
        np.full((NUM_MELS, max(0, _end(total - 1, fps) - columns.end)), _SILENT, np.float32)
    )
    for first in range(index, total, size):
        yield Heard(first, columns.windows(range(first, min(first + size, total)), fps))


def window_start(frame_index: int, fps: Fraction | float) -> int:
    """The first mel column that a frame hears."""
    # Rounded as in the release: a product of floats, not an exact fraction.
    return int(frame_index * (COLUMNS_PER_SECOND / float(fps)))


def _end(frame_index: int, fps: Fraction) -> int:
    return window_start(frame_index, fps) + WINDOW_COLUMNS


class _Columns:
    """The columns that windows to come need."""

    def __init__(self, silencer: Silencer | None) -> None:
        self._silencer = silencer
        self._mel: Mel = np.zeros((NUM_MELS, 0), np.float32)
        self._first = 0

    @property
    def end(self) -> int:
        """How many columns have come in all."""
        return self._first + int(self._mel.shape[1])

    def add(self, mel: Mel) -> None:
        if self._silencer is not None:
            mel = self._silencer.take(mel)
        self._mel = np.concatenate((self._mel, mel), axis=1)

    def windows(self, frames: range, fps: Fraction) -> Floats:
        """The windows of frames that come no earlier than those of the last call."""
        starts = [window_start(frame, fps) for frame in frames]
        self._mel = self._mel[:, starts[0] - self._first :]
        self._first = starts[0]
        cuts = [start - self._first for start in starts]
        return np.stack([self._mel[np.newaxis, :, cut : cut + WINDOW_COLUMNS] for cut in cuts])
