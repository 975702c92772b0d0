"""A voice that takes one second for every sentence, and can lose its voice."""

from collections.abc import Callable, Sequence

import numpy as np

from backend.speech.base import Spoken
from contracts.errors import SpeechFailed
from contracts.jobs import Voice
from contracts.marks import PhonemeMark

RATE = 16_000


class FakeVoices:
    """One voice a language.

    Args:
        family: First part of the voices' ids.
        online: Whether the voices claim to be online; these give no marks.
        fails_at: Number of the sentence at which the voice fails, from 0.
        amplitude: Peak of the tone.
        languages: Language tags.
        on_sentence: Called whenever a sentence has been spoken.
    """

    def __init__(
        self,
        family: str = "fake",
        *,
        online: bool = False,
        fails_at: int | None = None,
        amplitude: float = 0.5,
        languages: Sequence[str] = ("en", "de"),
        on_sentence: Callable[[], None] = lambda: None,
    ) -> None:
        self._on_sentence = on_sentence
        self.said: list[str] = []
        self._fails_at = fails_at
        self._amplitude = amplitude
        self.voices = [
            Voice(
                id=f"{family}:{tag}", name=f"{family} {tag}", language=tag, online=online,
                marks=not online,
            )
            for tag in languages
        ]  # fmt: skip

    def speak(self, sentence: str, voice: Voice) -> Spoken:
        if len(self.said) == self._fails_at:
            raise SpeechFailed("the voice is lost")
        self.said.append(sentence)
        self._on_sentence()
        seconds = np.arange(RATE) / RATE
        tone = np.sin(2 * np.pi * 220 * seconds) * self._amplitude
        marks = (
            PhonemeMark(start=0, end=0.5, phoneme="m"),
            PhonemeMark(start=0.5, end=1, phoneme="a"),
        )
        return Spoken((tone * 32767).astype(np.int16), RATE, marks if voice.marks else None)
