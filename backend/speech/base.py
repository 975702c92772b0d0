"""What every voice is to the backend."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from contracts.jobs import Voice
from contracts.marks import PhonemeMark


class Spoken(NamedTuple):
    """A piece of speech."""

    samples: NDArray[np.int16]
    """(num_samples,) mono."""
    sample_rate: int
    """Hz."""
    marks: tuple[PhonemeMark, ...] | None
    """Timed from the first sample; None when the voice gives no marks."""

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return len(self.samples) / self.sample_rate


class Speech(NamedTuple):
    """A whole text, spoken."""

    spoken: Spoken
    voice: Voice
    """The voice that spoke it."""


class TtsProvider(Protocol):
    """A family of voices."""

    @property
    def voices(self) -> Sequence[Voice]:
        """Every voice, in the order in which they are to be offered."""

    def speak(self, sentence: str, voice: Voice) -> Spoken:
        """Speak one sentence.

        Args:
            sentence: Plain text; markup in it is text like any other.
            voice: One of `voices`.

        Raises:
            SpeechFailed: The voice can't, now or ever.
        """
