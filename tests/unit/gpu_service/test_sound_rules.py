from fractions import Fraction

import numpy as np
import pytest
from numpy.typing import NDArray

from gpu_service.audio.sound_rules import heard_mouth
from gpu_service.data import SPEECH_RATE, Samples
from tests.media import babble, hiss, sample_speech, silence, vowel
from tests.noises import NOISES, in_noise, white

OPEN, CLOSURE = range(2)


def track_of(*pieces: Samples) -> NDArray[np.float64]:
    """One row a frame, 25 frames a second."""
    heard = heard_mouth(np.concatenate(pieces).astype(np.float32), Fraction(25))
    return np.stack(heard, axis=1)


@pytest.mark.parametrize("level_db", [-60, -40, -20])
@pytest.mark.parametrize("noise", NOISES)
def test_the_mouth_is_shut_in_steady_noise_from_the_first_frame(noise: str, level_db: int) -> None:
    for seed in range(3):
        sound = NOISES[noise](seed) * 0.5 * 10 ** (level_db / 20)
        assert track_of(sound)[:, OPEN].max() < 0.05


def test_the_mouth_is_shut_in_digital_silence() -> None:
    assert np.abs(track_of(silence(2.0))).max() < 1e-6


def test_background_noise_opens_the_mouth_neither_before_nor_after_the_speech() -> None:
    speech = sample_speech()
    track = track_of(in_noise(speech))
    assert track[:20, OPEN].max() < 0.05
    assert track[-30:, OPEN].max() < 0.05
    clean = track_of(speech)[:, OPEN]
    assert np.corrcoef(track[25 : 25 + len(clean), OPEN], clean)[0, 1] > 0.9


@pytest.mark.parametrize("gain_db", [-30, -15, 6])
def test_the_level_of_the_recording_hardly_matters(gain_db: int) -> None:
    speech = sample_speech()
    difference = np.abs(track_of(speech) - track_of(speech * 10 ** (gain_db / 20)))[:, OPEN]
    assert difference.mean() < 0.01
    assert difference.max() < 0.12


def test_speech_that_starts_at_once_opens_the_mouth_at_once() -> None:
    assert track_of(babble(1.0))[:6, OPEN].max() > 0.3
    speech = sample_speech()
    whole = track_of(speech)[:, OPEN]
    late = 8 * SPEECH_RATE // 5
    np.testing.assert_allclose(
        track_of(speech[late:])[:10, OPEN].mean(), whole[40:50].mean(), atol=0.1
    )


def test_the_mouth_shuts_in_pauses_of_speech() -> None:
    track = track_of(babble(1.5), silence(0.8), babble(1.5, seed=1))
    assert track[42:53, OPEN].max() < 0.03
    assert track[:37, OPEN].max() > 0.5
    assert track[60:, OPEN].max() > 0.5


@pytest.mark.parametrize("name", "aiueo")
def test_a_vowel_that_is_drawn_out_keeps_the_mouth_open_for_two_seconds(name: str) -> None:
    opening = track_of(babble(1.5), vowel(name, 4.0), silence(0.5))[:, OPEN]
    first = float(opening[43:47].mean())
    assert opening[43:80].min() > 0.5 * first > 0.1
    assert opening[-40:].max() < 0.05


@pytest.mark.parametrize("noise", NOISES)
def test_noise_that_begins_in_a_quiet_room_is_soon_passed_over(noise: str) -> None:
    room = 0.001 * white(9)[: 2 * SPEECH_RATE]
    opening = track_of(room, 0.1 * NOISES[noise](0))[:, OPEN]
    assert opening[50 + 25 :].max() < 0.05


@pytest.mark.parametrize("noise", NOISES)
def test_noise_right_after_speech_is_soon_passed_over(noise: str) -> None:
    speech = sample_speech()[: 11 * SPEECH_RATE // 5]
    sound = NOISES[noise](0)
    opening = track_of(speech, sound * speech.std() / sound.std() / 6)[:, OPEN]
    assert opening[55 + 25 :].max() < 0.05


def test_an_open_vowel_opens_wider_than_a_close_one() -> None:
    vowels = [vowel(name, 0.3) for name in "iau"]
    track = track_of(babble(0.6), vowels[0], hiss(0.1), vowels[1], hiss(0.1), vowels[2])
    close, opened, rounded = track[17:21], track[27:31], track[37:41]
    assert opened[:, OPEN].mean() > 1.6 * close[:, OPEN].mean()
    assert opened[:, OPEN].mean() > 1.6 * rounded[:, OPEN].mean()


def test_a_short_gap_between_vowels_presses_the_lips() -> None:
    track = track_of(babble(0.6), vowel("a", 0.2), silence(0.08), vowel("a", 0.3))
    gap = track[19:24]
    assert gap[:, CLOSURE].max() > 0.5
    assert gap[:, OPEN].min() < 0.15
