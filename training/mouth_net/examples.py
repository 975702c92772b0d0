"""Examples to learn from: clips in a row, with pauses, rooms, noises and levels of all kinds."""

from collections.abc import Sequence
from fractions import Fraction
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d
from scipy.signal import butter, fftconvolve, resample_poly, sosfilt

from gpu_service.audio.speech_mel import HOP, NUM_BANDS, SpeechMel
from gpu_service.data import SPEECH_RATE, Samples, SpeechChunk
from gpu_service.engines.facewarp.hearing.mark_shapes import MarkShapes
from gpu_service.engines.facewarp.hearing.mouth_net import STEP_ROWS
from gpu_service.engines.facewarp.hearing.net_shapes import DELAY_STEPS, LEAD_SECONDS
from training.mouth_net.sounds import Random, Sound, envelope, music, no_speech, noise
from training.mouth_net.voices import Clip

SECONDS: Final = 6
NUM_STEPS: Final = SECONDS * SPEECH_RATE // (HOP * STEP_ROWS) - 2
_COUNT: Final = SECONDS * SPEECH_RATE
_TARGET_HZ: Final = 100
NUM_TARGETS: Final = 6
"""open, width, round, closure, fv, and whether somebody speaks."""
_SPEAKS: Final = 5

# Real mouths open wider where the voice is louder; how much wider is a guess: half of the opening
# follows the loudness within 24 dB below the speaker's loud moments.
_LOUDNESS_SHARE: Final = 0.5
_LOUDNESS_RANGE_DB: Final = 24.0
_LOUDNESS_SECONDS: Final = 0.1
_EDGE_SECONDS: Final = 0.06


class Spoken(NamedTuple):
    """A clip and what the mouth does in it."""

    samples: Samples
    shapes: NDArray[np.float32]
    """(num_rows, NUM_TARGETS) at _TARGET_HZ."""


def spoken(clip: Clip) -> Spoken:
    """The clip with the shapes that its marks call for: the same that move the mouth by marks."""
    track = MarkShapes(Fraction(50))
    track.take(SpeechChunk(clip.samples, clip.marks))
    num_rows = int(len(clip.samples) / SPEECH_RATE * _TARGET_HZ)
    shapes = np.zeros((num_rows, NUM_TARGETS), np.float32)
    for row in range(num_rows):
        shapes[row, :_SPEAKS] = track.shape(row / _TARGET_HZ)
    for mark in clip.marks:
        if mark.phoneme.strip("_: |"):
            start = int((mark.start - _EDGE_SECONDS) * _TARGET_HZ)
            end = int((mark.end + _EDGE_SECONDS) * _TARGET_HZ)
            shapes[max(start, 0) : end + 1, _SPEAKS] = 1.0
    return Spoken(clip.samples, shapes)


class Example(NamedTuple):
    """Six seconds of sound as the network hears it, and what it is to say."""

    features: NDArray[np.float16]
    """(NUM_STEPS, STEP_ROWS * NUM_BANDS)."""
    targets: NDArray[np.float16]
    """(NUM_STEPS, NUM_TARGETS)."""


def example(clips: Sequence[Spoken], random: Random, no_speech_share: float = 0.14) -> Example:
    """One example, of speech or of what is none."""
    if random.random() < no_speech_share:
        sound, shapes = _something_else(random), np.zeros((SECONDS * _TARGET_HZ, NUM_TARGETS))
    else:
        sound, shapes = _speech(clips, random)
    return Example(_features(sound), _targets(shapes))


def plain_example(clip: Spoken) -> Example:
    """The clip as the voice gave it, at most six seconds of it, with what loudness does."""
    sound, shapes = np.zeros(_COUNT), np.zeros((SECONDS * _TARGET_HZ, NUM_TARGETS))
    _place(sound, shapes, clip, 0)
    return Example(_features(sound), _targets(_with_loudness(sound, shapes)))


def _speech(clips: Sequence[Spoken], random: Random) -> tuple[Sound, NDArray[np.float64]]:
    sound, shapes = np.zeros(_COUNT), np.zeros((SECONDS * _TARGET_HZ, NUM_TARGETS))
    place = 0 if random.random() < 0.4 else int(random.uniform(0, 1.5) * SPEECH_RATE)
    pause = random.uniform(0.1, 1.2)
    tempo = float(np.exp(random.uniform(-0.17, 0.2))) if random.random() < 0.8 else 1.0
    first = True
    while place < _COUNT:
        clip = _resampled(clips[int(random.integers(len(clips)))], tempo)
        if first and place == 0 and random.random() < 0.5:
            clip = _from(clip, random.uniform(0, 0.7))
        first = False
        _place(sound, shapes, clip, place)
        place += len(clip.samples) + int(random.uniform(0, pause) * SPEECH_RATE)
    sound *= envelope(_COUNT, random, 0.15, 0.7, random.uniform(0, 5))
    shapes = _with_loudness(sound, shapes)
    return _recorded(sound, shapes[:, _SPEAKS] > 0, clips, random), shapes


def _something_else(random: Random) -> Sound:
    sound = no_speech(_COUNT, random)
    if random.random() < 0.3:
        sound = sound + 10 ** random.uniform(-1.5, 0) * no_speech(_COUNT, random)
    if random.random() < 0.3:
        starts = int(random.uniform(0, 3) * SPEECH_RATE)
        sound[:starts] *= random.choice((0.0, 0.001))
    if random.random() < 0.3:
        sound = _equalized(sound, random)
    return _through_wire(sound * 10 ** random.uniform(-3.0, -0.5), random)


def _recorded(
    speech: Sound, speaks: NDArray[np.bool_], clips: Sequence[Spoken], random: Random
) -> Sound:
    """The speech as a microphone may hear it."""
    sound = _equalized(speech, random) if random.random() < 0.7 else speech
    if random.random() < 0.4:
        sound = _in_a_room(sound, random)
    power = float(np.sqrt(np.mean(sound**2))) + 1e-9
    if random.random() < 0.25:
        # Something breathes, clicks or plays in the pauses.
        gaps = np.repeat(~speaks, SPEECH_RATE // _TARGET_HZ).astype(float)
        gaps = uniform_filter1d(gaps, 800)
        sound = sound + gaps * no_speech(_COUNT, random) * power * 10 ** random.uniform(-1.3, -0.1)
    if random.random() < 0.8:
        around = _around(clips, random)
        around *= power / (float(np.sqrt(np.mean(around**2))) + 1e-9)
        sound = sound + around * 10 ** (-random.uniform(8, 45) / 20)
    loudest = float(np.abs(sound).max()) + 1e-9
    return _through_wire(sound / loudest * 10 ** random.uniform(-2.2, 0), random)


def _around(clips: Sequence[Spoken], random: Random) -> Sound:
    kind = random.random()
    if kind < 0.55:
        return noise(_COUNT, random)
    if kind < 0.75:
        return music(_COUNT, random) if random.random() < 0.6 else no_speech(_COUNT, random)
    crowd = np.zeros(_COUNT)
    for _ in range(int(random.integers(4, 9))):
        place = -int(random.integers(0, SPEECH_RATE))
        while place < _COUNT:
            samples = clips[int(random.integers(len(clips)))].samples
            start, end = max(place, 0), min(place + len(samples), _COUNT)
            if end > start:
                crowd[start:end] += samples[start - place : end - place]
            place += len(samples)
    return crowd


def _equalized(sound: Sound, random: Random) -> Sound:
    spectrum = np.fft.rfft(sound)
    hertz = np.linspace(0, SPEECH_RATE / 2, len(spectrum))
    knots = np.array([0, 100, 300, 800, 1800, 3500, 6000, 8000])
    decibels = random.uniform(2, 7) * random.standard_normal(len(knots))
    spectrum *= 10 ** (np.interp(hertz, knots, decibels.clip(-14, 14)) / 20)
    return np.fft.irfft(spectrum, len(sound))


def _in_a_room(sound: Sound, random: Random) -> Sound:
    seconds = random.uniform(0.08, 0.5)
    count = int(1.2 * seconds * SPEECH_RATE)
    decay = np.exp(-6.9 * np.arange(count) / SPEECH_RATE / seconds)
    echo = random.standard_normal(count) * decay
    echo /= np.sqrt(np.sum(echo**2))
    wet = 10 ** (-random.uniform(2, 20) / 20)
    return np.asarray(sound + wet * fftconvolve(sound, echo)[: len(sound)])


def _through_wire(sound: Sound, random: Random) -> Sound:
    """Band limits, saturation, telephone coding, 16 bits."""
    if random.random() < 0.4:
        low, high = random.uniform(40, 350), random.uniform(3300, 7500)
        sound = sosfilt(butter(2, (low, high), "band", fs=SPEECH_RATE, output="sos"), sound)
    if random.random() < 0.1:
        drive = random.uniform(1, 4) / (float(np.abs(sound).max()) + 1e-9)
        sound = np.tanh(drive * sound) / drive
    if random.random() < 0.12:
        loudest = float(np.abs(sound).max()) + 1e-9
        coded = np.sign(sound) * np.log1p(255 * np.abs(sound) / loudest) / np.log(256)
        coded = np.rint(coded * 127) / 127
        sound = loudest * np.sign(coded) * np.expm1(np.abs(coded) * np.log(256)) / 255
    if random.random() < 0.7:
        sound = np.rint(np.clip(sound, -1, 1) * 32767) / 32768
    return np.asarray(sound)


def _with_loudness(sound: Sound, shapes: NDArray[np.float64]) -> NDArray[np.float64]:
    """The shapes, opened more where the voice is loud for this speaker."""
    width = int(_LOUDNESS_SECONDS * SPEECH_RATE)
    power = uniform_filter1d(uniform_filter1d(sound**2, width), width // 2)
    level = 10 * np.log10(power[:: SPEECH_RATE // _TARGET_HZ] + 1e-9)
    speaks = shapes[:, _SPEAKS] > 0
    if not speaks.any():
        return shapes
    loud = float(np.percentile(level[speaks], 90))
    relative = np.clip(1 + (level - loud) / _LOUDNESS_RANGE_DB, 0, 1.2)
    shapes = shapes.copy()
    shapes[:, 0] *= 1 - _LOUDNESS_SHARE + _LOUDNESS_SHARE * relative
    shapes[:, 0] = np.minimum(shapes[:, 0], 1.0)
    return shapes


def _resampled(clip: Spoken, tempo: float) -> Spoken:
    """Faster and higher, or slower and lower: another speaker with another throat."""
    down = round(100 * tempo)
    if down == 100:
        return clip
    samples = np.asarray(resample_poly(clip.samples, 100, down), np.float32)
    num_rows = int(len(samples) / SPEECH_RATE * _TARGET_HZ)
    places = np.arange(num_rows) * down / 100
    rows = np.arange(len(clip.shapes))
    columns = [np.interp(places, rows, column) for column in clip.shapes.T]
    return Spoken(samples, np.stack(columns, axis=1).astype(np.float32))


def _from(clip: Spoken, share: float) -> Spoken:
    row = int(share * len(clip.shapes))
    return Spoken(clip.samples[row * SPEECH_RATE // _TARGET_HZ :], clip.shapes[row:])


def _place(sound: Sound, shapes: NDArray[np.float64], clip: Spoken, place: int) -> None:
    row = place * _TARGET_HZ // SPEECH_RATE
    place = row * SPEECH_RATE // _TARGET_HZ
    samples, wanted = clip.samples[: len(sound) - place], clip.shapes[: len(shapes) - row]
    sound[place : place + len(samples)] += samples
    shapes[row : row + len(wanted)] = wanted


def _features(sound: Sound) -> NDArray[np.float16]:
    rows = np.concatenate(list(SpeechMel().take(sound.astype(np.float32))))
    rows = rows[: NUM_STEPS * STEP_ROWS]
    return rows.reshape(NUM_STEPS, STEP_ROWS * NUM_BANDS).astype(np.float16)


def _targets(shapes: NDArray[np.float64]) -> NDArray[np.float16]:
    """What the network is to say: the shapes of some steps ago, ahead of the ear."""
    seconds = (np.arange(NUM_STEPS) - DELAY_STEPS) * HOP * STEP_ROWS / SPEECH_RATE + LEAD_SECONDS
    places = seconds * _TARGET_HZ
    rows = np.arange(len(shapes))
    columns = [np.interp(places, rows, column, left=0.0) for column in shapes.T]
    return np.stack(columns, axis=1).astype(np.float16)
