"""Sounds that are no speech, made by code: what the mouth must not move to."""

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, lfilter, sosfilt

from gpu_service.data import SPEECH_RATE

Sound = NDArray[np.float64]
"""(num_samples,) at SPEECH_RATE, of any level."""
Random = np.random.Generator


def noise(count: int, random: Random) -> Sound:
    """Steady noise between a hiss and a rumble, some of it of one band only."""
    white = random.standard_normal(count)
    kind = random.integers(4)
    if kind == 0:
        return white
    if kind == 1:
        return np.asarray(lfilter([1.0], [1.0, -random.uniform(0.5, 0.995)], white))
    if kind == 2:
        low = float(np.exp(random.uniform(np.log(60), np.log(5000))))
        high = min(low * random.uniform(1.3, 6), 7900)
        return np.asarray(
            sosfilt(butter(2, (low, high), "band", fs=SPEECH_RATE, output="sos"), white)
        )
    return np.diff(white, prepend=0.0)


def swelling_noise(count: int, random: Random) -> Sound:
    """Noise that comes and goes, as of wind, waves, cars and applause."""
    return noise(count, random) * envelope(count, random, 0.15, 1.5, 8.0)


def breath(count: int, random: Random) -> Sound:
    """Breaths between pauses: noise through the resonances of an open mouth."""
    sound = np.zeros(count)
    place = int(random.uniform(0, 0.8) * SPEECH_RATE)
    while place < count:
        length = int(random.uniform(0.2, 1.3) * SPEECH_RATE)
        puff = random.standard_normal(length)
        for _ in range(int(random.integers(1, 4))):
            puff = resonance(puff, random.uniform(350, 4500), random.uniform(150, 900))
        rise = random.uniform(0.1, 0.9)
        shape = np.interp(np.linspace(0, 1, length), (0, rise, 1), (0, 1, 0)) ** random.uniform(
            0.7, 2
        )
        piece = (puff / max(float(puff.std()), 1e-9) * shape)[: count - place]
        sound[place : place + len(piece)] += piece * 10 ** random.uniform(-0.4, 0)
        place += length + int(random.uniform(0.1, 1.5) * SPEECH_RATE)
    return sound


def hum(count: int, random: Random) -> Sound:
    """Mains hum, engines and fans: harmonics of one low tone, steady or slowly drifting."""
    pitch = random.uniform(40, 250) * (1 + 0.02 * wander(count, random, 1.0))
    phase = 2 * np.pi * np.cumsum(pitch) / SPEECH_RATE
    fall = random.uniform(0.3, 1.5)
    tones = [
        np.sin(number * phase + random.uniform(0, 6)) / number**fall
        for number in range(1, int(random.integers(2, 25)))
    ]
    return np.asarray(sum(tones) + 0.05 * random.uniform() * random.standard_normal(count))


def hummed_voice(count: int, random: Random) -> Sound:
    """Somebody who hums a tune with shut lips: all of it below 1 kHz, without consonants."""
    pitch = notes(count, random, 90, 300, 0.25, 1.2)
    pitch *= 1 + 0.01 * np.sin(2 * np.pi * 5.5 * np.arange(count) / SPEECH_RATE)
    phase = np.cumsum(pitch) / SPEECH_RATE
    pulses = np.diff(np.floor(phase), prepend=0.0)
    sound = resonance(pulses, random.uniform(220, 320), 70)
    sound = np.asarray(lfilter([1.0], [1.0, -0.9], sound))
    return sound * envelope(count, random, 0.3, 1.2, 4.0)


def music(count: int, random: Random) -> Sound:
    """Chords, a tune and a beat, of instruments made up anew each time."""
    total = np.zeros(count)
    for _ in range(int(random.integers(1, 4))):
        lowest = random.uniform(60, 500)
        for _ in range(int(random.integers(1, 4))):
            part = _voice_of_instrument(count, random, lowest)
            total += part * 10 ** random.uniform(-0.6, 0)
    if random.random() < 0.6:
        total += _beat(count, random) * total.std() * 10 ** random.uniform(0, 0.7)
    return total


def tones(count: int, random: Random) -> Sound:
    """Beeps, rings, sirens and sweeps."""
    speed = float(np.exp(random.uniform(np.log(0.2), np.log(12))))
    time = np.arange(count) / SPEECH_RATE
    sweep = random.choice((0.0, 0.02, 0.5)) * np.sin(2 * np.pi * speed * time)
    phase = np.cumsum(random.uniform(200, 3000) * np.exp(sweep)) * 2 * np.pi / SPEECH_RATE
    sound = np.sin(phase) + random.uniform(0, 0.5) * np.sin(2 * phase)
    beats = np.sin(2 * np.pi * random.uniform(0.3, 5) * time) > random.uniform(-1, 0.6)
    if random.random() < 0.6:
        sound *= np.asarray(lfilter([0.01], [1, -0.99], beats.astype(float)))
    return np.asarray(sound)


def clicks(count: int, random: Random) -> Sound:
    """Keys, taps, steps, knocks: short resonances at uneven times."""
    sound = np.zeros(count)
    place = int(random.uniform(0, 0.5) * SPEECH_RATE)
    pace = random.uniform(0.08, 0.7)
    while place < count:
        sound[place] = random.choice((-1, 1)) * 10 ** random.uniform(-0.8, 0)
        place += int(pace * random.exponential() * SPEECH_RATE) + 300
    excited = sound + 0.2 * sound_burst(sound, random)
    for _ in range(2):
        excited = resonance(excited, random.uniform(120, 5000), random.uniform(60, 900))
    return excited


def quiet(count: int, random: Random) -> Sound:
    """Nothing, or the faintest noise."""
    level = random.choice((0.0, 1e-5, 1e-4))
    return np.asarray(level * random.standard_normal(count))


NO_SPEECH: Final[tuple[tuple[Callable[[int, Random], Sound], float], ...]] = (
    (noise, 2.0),
    (swelling_noise, 1.5),
    (breath, 2.0),
    (hum, 1.5),
    (hummed_voice, 1.0),
    (music, 4.0),
    (tones, 1.0),
    (clicks, 1.5),
    (quiet, 1.0),
)
_WEIGHTS: Final = np.array([weight for _, weight in NO_SPEECH])


def no_speech(count: int, random: Random) -> Sound:
    """One of them, of unit power where it sounds at all."""
    make = NO_SPEECH[int(random.choice(len(NO_SPEECH), p=_WEIGHTS / _WEIGHTS.sum()))][0]
    sound = make(count, random)
    if make is quiet:
        return sound
    return sound / max(float(np.sqrt(np.mean(sound**2))), 1e-9)


def wander(count: int, random: Random, seconds: float) -> Sound:
    """A smooth curve of unit variance that turns about every so many seconds."""
    num_knots = max(int(count / SPEECH_RATE / seconds) + 2, 3)
    knots = random.standard_normal(num_knots)
    places = np.linspace(0, num_knots - 1, count)
    left = places.astype(int).clip(max=num_knots - 2)
    ease = 0.5 - 0.5 * np.cos(np.pi * (places - left))
    return np.asarray(knots[left] * (1 - ease) + knots[left + 1] * ease)


def envelope(count: int, random: Random, shortest: float, longest: float, depth_db: float) -> Sound:
    """A gain that swells and fades."""
    decibels = depth_db * wander(count, random, random.uniform(shortest, longest))
    return np.asarray(10 ** (np.minimum(decibels, 12.0) / 20))


def resonance(sound: Sound, centre_hz: float, bandwidth_hz: float) -> Sound:
    """The sound through one resonance."""
    radius = np.exp(-np.pi * bandwidth_hz / SPEECH_RATE)
    angle = 2 * np.pi * centre_hz / SPEECH_RATE
    return np.asarray(lfilter([1 - radius], [1.0, -2 * radius * np.cos(angle), radius**2], sound))


def sound_burst(impulses: Sound, random: Random) -> Sound:
    """Noise that rings on for a moment after each impulse."""
    ring = np.asarray(lfilter([1.0], [1.0, -random.uniform(0.9, 0.998)], np.abs(impulses)))
    return ring * random.standard_normal(len(impulses))


def notes(
    count: int, random: Random, lowest: float, highest: float, shortest: float, longest: float
) -> Sound:
    """Pitches of a tune, in Hz, a step each."""
    pitch = np.empty(count)
    place = 0
    semitones = int(12 * np.log2(highest / lowest))
    while place < count:
        length = int(random.uniform(shortest, longest) * SPEECH_RATE)
        pitch[place : place + length] = lowest * 2 ** (random.integers(0, semitones + 1) / 12)
        place += length
    return pitch


def _voice_of_instrument(count: int, random: Random, lowest: float) -> Sound:
    pitch = notes(count, random, lowest, 2.5 * lowest, 0.12, random.uniform(0.2, 1.5))
    starts = np.flatnonzero(np.diff(pitch, prepend=0.0))
    since = np.arange(count) - np.repeat(starts, np.diff(np.append(starts, count)))
    attack, decay = random.uniform(0.003, 0.08), random.uniform(0.1, 3.0)
    shape = np.minimum(since / SPEECH_RATE / attack, 1) * np.exp(-since / SPEECH_RATE / decay)
    vibrato = 1 + random.choice((0.0, 0.008)) * np.sin(
        2 * np.pi * 5.5 * np.arange(count) / SPEECH_RATE
    )
    phase = np.cumsum(pitch * vibrato) / SPEECH_RATE
    fall = random.uniform(0.4, 2.0)
    odd = int(random.integers(1, 3))
    period = np.zeros(4096)
    for number in range(1, 14, odd):
        if number * pitch.max() < 7800:
            period += np.sin(2 * np.pi * number * np.arange(4096) / 4096) / number**fall
    return np.asarray(period[(phase * 4096).astype(int) % 4096] * shape)


def _beat(count: int, random: Random) -> Sound:
    sound = np.zeros(count)
    period = int(random.uniform(0.2, 0.6) * SPEECH_RATE)
    for number, place in enumerate(range(0, count, period)):
        length = min(int(0.25 * SPEECH_RATE), count - place)
        time = np.arange(length) / SPEECH_RATE
        if number % 2:
            drum = random.standard_normal(length) * np.exp(-time / 0.05)
        else:
            drum = (
                2
                * np.sin(2 * np.pi * (60 * time + 4 * (1 - np.exp(-30 * time))))
                * np.exp(-time / 0.1)
            )
        sound[place : place + length] += drum
    return sound
