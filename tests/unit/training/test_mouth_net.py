# IPA letters look like others on purpose.
# ruff: noqa: RUF001
"""What teaches the network: the voices' marks, the sounds that are no speech, and the network."""

from fractions import Fraction

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import resample_poly

from backend.speech.espeak_voice import espeak
from contracts.marks import PhonemeMark
from gpu_service.audio.speech_mel import NUM_BANDS
from gpu_service.audio.visemes import gestures
from gpu_service.data import SpeechChunk
from gpu_service.engines.facewarp.hearing.mouth_net import STEP_ROWS
from gpu_service.engines.facewarp.hearing.net_shapes import DELAY_STEPS, LEAD_SECONDS
from gpu_service.engines.facewarp.mouth import mouth_shapes
from tests.media import marks_of, vowel
from training.mouth_net.examples import (
    NUM_STEPS,
    NUM_TARGETS,
    SECONDS,
    example,
    plain_example,
    spoken,
)
from training.mouth_net.phones import PHONES
from training.mouth_net.sounds import NO_SPEECH
from training.mouth_net.texts import SENTENCES, Writer
from training.mouth_net.voices import HELD_OUT_LANGUAGES, Clip, espeak_clips

INPUTS = STEP_ROWS * NUM_BANDS
STEP_SECONDS = 0.02


def clip_of(*phonemes: tuple[str, float]) -> Clip:
    marks: tuple[PhonemeMark, ...] = marks_of(*phonemes)
    return Clip("made up", vowel("a", marks[-1].end), marks)


@pytest.mark.parametrize("language", PHONES)
def test_every_phone_of_the_voices_is_known_to_the_mouth(language: str) -> None:
    assert all(gestures(phoneme) for phoneme in PHONES[language].values())


@pytest.mark.parametrize("language", SENTENCES)
def test_each_language_is_spoken_with_marks_the_mouth_knows(language: str) -> None:
    (clip, *_) = espeak_clips(language, ["m3"], 1.0, seed=0)
    assert len(clip.samples) > 8000
    assert sum(bool(gestures(mark.phoneme)) for mark in clip.marks) > 0.5 * len(clip.marks)


def test_made_up_sentences_are_the_same_for_the_same_seed() -> None:
    first, again, other = Writer("de", 1), Writer("de", 1), Writer("de", 2)
    sentences = [first.sentence() for _ in range(5)]
    assert sentences == [again.sentence() for _ in range(5)]
    assert sentences != [other.sentence() for _ in range(5)]


def test_held_out_languages_have_text() -> None:
    assert set(HELD_OUT_LANGUAGES) < set(SENTENCES)


@pytest.mark.parametrize("make", [make for make, _ in NO_SPEECH])
def test_what_is_no_speech_is_a_sound_all_the_same(make: object) -> None:
    for seed in range(5):
        sound = make(32_000, np.random.default_rng(seed))  # type: ignore[operator]
        assert sound.shape == (32_000,)
        assert np.isfinite(sound).all()


def test_the_target_of_a_step_is_the_mouth_that_many_steps_ago_and_ahead_of_the_ear() -> None:
    made = plain_example(spoken(clip_of(("a", 0.5), ("m", 0.1), ("a", 0.5))))
    closed = np.flatnonzero(made.targets[:, 3] > 0.9) * STEP_SECONDS
    heard = 0.55 + DELAY_STEPS * STEP_SECONDS - LEAD_SECONDS
    np.testing.assert_allclose(closed.mean(), heard, atol=0.02)
    assert made.targets[:, 0].max() > 0.4
    assert made.targets[closed.astype(int), 0].max() < 0.1


def test_examples_are_the_same_for_the_same_seed_and_within_their_ranges() -> None:
    clips = [spoken(clip_of(("a", 0.4), ("p", 0.1), ("iː", 0.4), ("u", 0.5)))]
    made = [example(clips, np.random.default_rng(seed)) for seed in (0, 0, 1, 2, 3)]
    assert np.array_equal(made[0].features, made[1].features)
    for features, targets in made:
        assert features.shape == (NUM_STEPS, INPUTS)
        assert targets.shape == (NUM_STEPS, NUM_TARGETS)
        assert np.isfinite(features).all()
        assert targets[:, [0, 2, 3, 4, 5]].min() >= 0
        assert np.abs(targets).max() <= 1
    assert NUM_STEPS * STEP_SECONDS > SECONDS - 0.1


def test_louder_syllables_open_wider() -> None:
    clip = clip_of(("ˈa", 0.4), ("", 0.2), ("ˈa", 0.4))
    softened = clip.samples.copy()
    softened[8000:] *= 0.2
    loud, soft = (
        plain_example(spoken(Clip("", samples, clip.marks))).targets[:, 0]
        for samples in (clip.samples, softened)
    )
    assert loud[:25].max() == pytest.approx(soft[:25].max(), abs=0.05)
    assert soft[30:].max() < 0.8 * loud[30:].max()


def heard_as(text: str) -> NDArray[np.float64]:
    """What the shipped network hears in espeak-ng's English; one row a frame."""
    library = espeak()
    sound, _ = library.speak(text, library.languages()["en-gb"].identifier)
    samples = resample_poly(np.frombuffer(sound, np.int16) / 32768, 320, 441)
    chunk = SpeechChunk(samples.astype(np.float32))
    return np.array(list(mouth_shapes([chunk], Fraction(25))))


def test_lips_meet_at_p_b_and_m_and_not_at_other_stops() -> None:
    pressed = heard_as("Mama papa, baby poppy, my bob bumped a pump.")
    free = heard_as("Take a duck to the ticket, ten tidy kids dig, go kick it.")
    assert (pressed[:, 3] > 0.8).mean() > 0.15
    assert (pressed[:, 3] > 0.8).mean() > 3 * (free[:, 3] > 0.8).mean()
    assert pressed[pressed[:, 3] > 0.8, 0].max() < 0.2


def test_the_lip_is_tucked_at_f_and_v_rather_than_elsewhere() -> None:
    tucked = heard_as("Five foxes have very few favourite coffees, Vivian, for ever and ever.")
    free = heard_as("The lady sang a song to the goat, and the cat ran to the door.")
    assert tucked[:, 4].mean() > 3 * free[:, 4].mean()
    assert tucked[:, 4].max() > 0.7


@pytest.mark.parametrize("language", HELD_OUT_LANGUAGES)
def test_the_shipped_network_hears_what_marks_say_in_languages_it_was_not_taught(
    language: str,
) -> None:
    fps = Fraction(25)
    heard, told = [], []
    for clip in espeak_clips(language, ["Andy", "Alicia"], 12.0, seed=5):
        heard += list(mouth_shapes([SpeechChunk(clip.samples)], fps))
        told += list(mouth_shapes([SpeechChunk(clip.samples, clip.marks)], fps))
    # By ear the mouth leads the sound by a frame.
    by_ear, by_marks = np.array(heard)[:-1], np.array(told)[1:]
    for channel, least in ((0, 0.5), (1, 0.35), (2, 0.3), (3, 0.35)):
        assert np.corrcoef(by_ear[:, channel], by_marks[:, channel])[0, 1] > least
