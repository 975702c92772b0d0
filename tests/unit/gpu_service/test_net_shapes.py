from fractions import Fraction

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import butter, lfilter, sosfilt

from gpu_service.data import SPEECH_RATE, Samples, SpeechChunk
from gpu_service.engines.facewarp.mouth import mouth_shapes
from tests.media import sample_speech, silence, vowel
from tests.noises import NOISES, SECONDS, Noise, in_noise, white

OPEN, WIDTH, ROUND, CLOSURE, FV = range(5)
A_MINOR = (220.0, 261.6, 329.6, 440.0, 392.0, 329.6, 261.6, 246.9)


def track_of(*pieces: Samples, fps: Fraction = Fraction(25)) -> NDArray[np.float64]:
    """One row a frame."""
    chunk = SpeechChunk(np.concatenate(pieces).astype(np.float32))
    return np.array(list(mouth_shapes([chunk], fps)))


def melody(seed: int) -> NDArray[np.float64]:
    """Plucked notes over a held chord."""
    sound = np.zeros(len(SECONDS))
    for i, pitch in enumerate(np.roll(A_MINOR * 2, seed)):
        since = np.clip(SECONDS - 0.25 * i, 0, None)
        tone = sum(np.sin(2 * np.pi * n * pitch * since) / n for n in range(1, 6))
        sound += tone * np.exp(-since / 0.4) * (since > 0)
    return sound + 0.3 * sum(np.sin(2 * np.pi * pitch * SECONDS) for pitch in A_MINOR[:3])


def breathing(seed: int) -> NDArray[np.float64]:
    """In and out, through an open mouth."""
    puff = sosfilt(butter(2, (400, 3000), "band", fs=SPEECH_RATE, output="sos"), white(seed))
    return np.asarray(puff * np.sin(np.pi * SECONDS / 1.3) ** 2)


def keyboard(seed: int) -> NDArray[np.float64]:
    choose = np.random.default_rng(seed)
    strokes = np.zeros(len(SECONDS))
    strokes[np.cumsum(choose.integers(1500, 5000, 12)) % len(SECONDS)] = 1
    return np.asarray(lfilter([1.0], [1.0, -0.99], strokes) * white(seed))


NO_SPEECH: dict[str, Noise] = NOISES | {
    "breath": breathing,
    "melody": melody,
    "keyboard": keyboard,
}


@pytest.mark.parametrize("level_db", [-60, -20])
@pytest.mark.parametrize("sound", NO_SPEECH)
def test_the_mouth_is_shut_in_what_is_no_speech(sound: str, level_db: int) -> None:
    for seed in range(3):
        samples = NO_SPEECH[sound](seed)
        track = track_of(samples / samples.std() * 10 ** (level_db / 20))
        # What swells from nothing might be speech for a moment.
        heard = track[6:] if sound in ("breath", "swelling hiss") else track
        assert heard[:, OPEN].max() < 0.05
        assert np.abs(heard[:, WIDTH]).max() < 0.1


def test_the_mouth_rests_in_digital_silence() -> None:
    assert np.abs(track_of(silence(2.0))).max() < 1e-6


def test_background_noise_opens_the_mouth_neither_before_nor_after_the_speech() -> None:
    speech = sample_speech()
    track = track_of(in_noise(speech))
    assert track[:20, OPEN].max() < 0.05
    assert track[-30:, OPEN].max() < 0.05
    clean = track_of(speech)[:, OPEN]
    assert np.corrcoef(track[25 : 25 + len(clean), OPEN], clean)[0, 1] > 0.8


@pytest.mark.parametrize("gain_db", [-30, -15, 6])
def test_the_level_of_the_recording_does_not_matter(gain_db: int) -> None:
    speech = sample_speech()
    track, other = track_of(speech), track_of(speech * 10 ** (gain_db / 20))
    assert np.abs(track - other).mean() < 0.03
    # Where a recording begins its level is not yet known.
    for first, least in ((0, 0.95), (12, 0.98)):
        assert np.corrcoef(track[first:, OPEN], other[first:, OPEN])[0, 1] > least


def test_speech_that_starts_at_once_opens_the_mouth_at_once() -> None:
    speech = sample_speech()
    whole = track_of(speech)[:, OPEN]
    late = 8 * SPEECH_RATE // 5
    opening = track_of(speech[late:])[:10, OPEN]
    np.testing.assert_allclose(opening.mean(), whole[40:50].mean(), atol=0.12)
    assert opening.max() > 0.2


@pytest.mark.parametrize("room", [0.0, 1e-4])
@pytest.mark.parametrize("seconds", [5, 30])
def test_speech_after_a_long_silence_is_heard_from_its_first_word(
    seconds: int, room: float
) -> None:
    speech = sample_speech()
    sound = np.concatenate((silence(float(seconds)), speech))
    noise = room * np.random.default_rng(0).standard_normal(len(sound))
    opening = track_of(sound + noise)[25 * seconds :, OPEN]
    at_once = track_of(speech)[:, OPEN]
    assert np.corrcoef(opening[:25], at_once[:25])[0, 1] > 0.9


def test_the_mouth_shuts_in_pauses_of_speech_and_at_its_end() -> None:
    speech = sample_speech()
    track = track_of(speech, silence(0.8), speech, silence(0.6))
    end = len(speech) * 25 // SPEECH_RATE
    assert track[end + 6 : end + 15, OPEN].max() < 0.03
    assert track[-10:, OPEN].max() < 0.03
    assert track[:end, OPEN].max() > 0.4


@pytest.mark.parametrize("sound", NO_SPEECH)
def test_what_is_no_speech_is_soon_passed_over_after_speech(sound: str) -> None:
    speech = sample_speech()[: 11 * SPEECH_RATE // 5]
    samples = NO_SPEECH[sound](0)
    opening = track_of(speech, samples * speech.std() / samples.std() / 6)[:, OPEN]
    assert opening[55 + 25 :].max() < 0.05


def test_vowels_have_their_openings_widths_and_roundings() -> None:
    lead = sample_speech()[: 6 * SPEECH_RATE // 5]
    shapes = {name: track_of(lead, vowel(name, 0.3))[32:36].mean(axis=0) for name in "iau"}
    assert shapes["a"][OPEN] > 1.4 * shapes["i"][OPEN]
    assert shapes["a"][OPEN] > 1.4 * shapes["u"][OPEN]
    assert shapes["i"][WIDTH] > shapes["u"][WIDTH] + 0.2
    assert shapes["u"][ROUND] > shapes["i"][ROUND] + 0.2
    assert shapes["a"][ROUND] < 0.2


@pytest.mark.parametrize("fps", [Fraction(10), Fraction(15), Fraction(60)])
def test_closures_are_shown_at_any_frame_rate(fps: Fraction) -> None:
    speech = sample_speech()
    shown = track_of(speech, fps=fps)[:, CLOSURE]
    for frame in np.flatnonzero(track_of(speech)[:, CLOSURE] > 0.9):
        nearest = round(frame / 25 * fps)
        assert shown[max(nearest - 1, 0) : nearest + 2].max() > 0.6
