"""Faces, speech and files made by code."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from contracts.marks import PhonemeMark
from gpu_service.data import SPEECH_RATE, Samples, SpeechChunk
from gpu_service.media.decode import decode_sound, speech_chunks

SAMPLES = Path(__file__).parent.parent / "samples"

FORMANTS = {"a": (750, 1250), "i": (290, 2300), "u": (310, 850), "e": (500, 1900), "o": (480, 950)}
"""First and second formant of each vowel, in Hz."""


def vowel(name: str, seconds: float, pitch: float = 120.0) -> Samples:
    """A sung vowel with soft edges, about -20 dB."""
    count = round(seconds * SPEECH_RATE)
    pulses = np.zeros(count)
    pulses[np.arange(0, count, SPEECH_RATE / pitch).astype(int)] = 1.0
    sound: NDArray[np.float64] = lfilter([1.0], [1.0, -0.95], pulses)
    for formant, bandwidth in zip((*FORMANTS[name], 2900), (80, 100, 160), strict=True):
        radius = np.exp(-np.pi * bandwidth / SPEECH_RATE)
        angle = 2 * np.pi * formant / SPEECH_RATE
        sound = lfilter([1 - radius], [1.0, -2 * radius * np.cos(angle), radius**2], sound)
    ramp = np.clip(np.minimum(np.arange(count), np.arange(count)[::-1]) / 240, 0, 1)
    return (sound * ramp * 0.1 / max(sound.std(), 1e-9)).astype(np.float32)


def hiss(seconds: float, level: float = 0.02, seed: int = 0) -> Samples:
    """Noise as of the consonant s."""
    noise = np.random.default_rng(seed).standard_normal(round(seconds * SPEECH_RATE))
    return (level * np.diff(noise, prepend=0.0)).astype(np.float32)


def silence(seconds: float) -> Samples:
    """No sound at all."""
    return np.zeros(round(seconds * SPEECH_RATE), np.float32)


def babble(seconds: float, seed: int = 0) -> Samples:
    """Syllables of made-up speech, without pauses."""
    choose = np.random.default_rng(seed)
    pieces: list[Samples] = []
    while sum(len(piece) for piece in pieces) < seconds * SPEECH_RATE:
        onset = choose.choice(3)
        if onset == 0:
            pieces.append(hiss(0.09, seed=int(choose.integers(1000))))
        elif onset == 1:
            pieces.append(silence(0.07))
        name = str(choose.choice(list(FORMANTS)))
        pieces.append(vowel(name, choose.uniform(0.09, 0.22), choose.uniform(95, 150)))
    return np.concatenate(pieces)[: round(seconds * SPEECH_RATE)]


def sample_speech() -> Samples:
    """The recording in samples/, as engines hear it."""
    sound = decode_sound((SAMPLES / "speech.flac").read_bytes())
    return np.concatenate([chunk.samples for chunk in speech_chunks(sound)])


def cut(speech: SpeechChunk, lengths: Sequence[int]) -> Iterator[SpeechChunk]:
    """The speech in pieces of these lengths in turn, each with the marks that begin in it."""
    start = turn = 0
    while start < len(speech.samples):
        end = min(start + lengths[turn % len(lengths)], len(speech.samples))
        last = end == len(speech.samples)
        marks = speech.marks and tuple(
            mark
            for mark in speech.marks
            if start <= mark.start * SPEECH_RATE and (last or mark.start * SPEECH_RATE < end)
        )
        yield SpeechChunk(speech.samples[start:end], marks)
        start, turn = end, turn + 1


class Counted:
    """Speech that knows how much of it was taken."""

    def __init__(self, speech: Iterable[SpeechChunk]) -> None:
        self._speech = speech
        self.num_samples = 0

    def __iter__(self) -> Iterator[SpeechChunk]:
        for chunk in self._speech:
            self.num_samples += len(chunk.samples)
            yield chunk


def marks_of(*phonemes: tuple[str, float]) -> tuple[PhonemeMark, ...]:
    """Marks of phonemes and their seconds, one after the other; an empty phoneme is a pause."""
    marks, start = [], 0.0
    for phoneme, seconds in phonemes:
        marks.append(PhonemeMark(start=start, end=start + seconds, phoneme=phoneme))
        start += seconds
    return tuple(mark for mark in marks if mark.phoneme)
