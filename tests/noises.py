"""Sounds made by code to which no mouth moves, and speech among them."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from gpu_service.data import SPEECH_RATE, Samples
from tests.media import silence

SECONDS = np.arange(4 * SPEECH_RATE) / SPEECH_RATE


def white(seed: int) -> NDArray[np.float64]:
    return np.random.default_rng(seed).standard_normal(len(SECONDS))


Noise = Callable[[int], NDArray[np.float64]]
"""Of a seed, as long as SECONDS."""

NOISES: dict[str, Noise] = {
    "hiss": white,
    "rumble": lambda seed: lfilter([1.0], [1.0, -0.98], white(seed)) / 5,
    "swelling hiss": lambda seed: white(seed) * np.clip(SECONDS / 0.3, 0, 1),
    "hiss after zeros": lambda seed: np.where(SECONDS < 0.05, 0, white(seed)),
    "fan": lambda seed: (
        white(seed) * (1 + 0.3 * np.sin(18 * SECONDS)) + np.sin(940 * SECONDS + seed)
    ),
    "mains hum": lambda seed: np.sign(np.sin(100 * np.pi * SECONDS)) + 0.02 * white(seed),
    "tone": lambda seed: np.sin((2000 + 500 * seed) * SECONDS),
}


def in_noise(speech: Samples) -> Samples:
    """The speech after 1 s and before 1.5 s of noise that is 20 dB below it throughout."""
    total = np.concatenate((silence(1.0), speech, silence(1.5)))
    noise = lfilter([1.0], [1.0, -0.9], np.random.default_rng(0).standard_normal(len(total)))
    return np.asarray(total + 0.1 * speech.std() * noise / noise.std(), np.float32)
