"""When somebody speaks, and which syllables are stressed."""

import numpy as np
import pytest

from gpu_service.data import SPEECH_RATE, Samples
from gpu_service.engines.facewarp.life.rhythm import PEAK_ROWS, ROW_SECONDS, Beat, SpeechRhythm
from tests.media import babble, hiss, sample_speech, silence, vowel


def beats(speech: Samples) -> list[Beat]:
    return list(SpeechRhythm().take(speech))


def seconds_of(found: list[Beat], wanted: str) -> list[float]:
    return [row * ROW_SECONDS for row, beat in enumerate(found) if getattr(beat, wanted)]


def test_a_phrase_begins_with_its_first_sound_and_ends_after_its_pause() -> None:
    found = beats(np.concatenate((silence(1), babble(2), silence(1), babble(1), silence(1))))
    assert seconds_of(found, "starts") == pytest.approx([1.0, 4.0], abs=0.1)
    assert seconds_of(found, "ends") == pytest.approx([3.3, 5.3], abs=0.15)


def test_the_louder_syllable_is_the_stressed_one() -> None:
    quiet, loud = 0.3 * vowel("a", 0.15), vowel("a", 0.15)
    syllables = [loud, *[quiet] * 6, loud, *[quiet] * 6]
    spoken = [piece for syllable in syllables for piece in (syllable, silence(0.08))]
    found = beats(np.concatenate([silence(0.5), *spoken]))
    # Whoever begins to speak is loud for a moment, for want of anything to compare with.
    strongest = max(range(80, len(found)), key=lambda row: found[row].stress)
    middle = 0.5 + 7 * 0.23 + 0.075
    assert (strongest - PEAK_ROWS) * ROW_SECONDS == pytest.approx(middle, abs=0.1)
    assert found[strongest].stress > 2 * found[strongest + 23].stress


def test_silence_and_steady_noise_have_no_rhythm() -> None:
    for sound in (silence(3), hiss(3), 0.01 * hiss(3, seed=1)):
        found = beats(sound)
        assert not any(beat.starts or beat.stress for beat in found)


@pytest.mark.parametrize("level", [0.0003, 0.002, 0.02])
def test_noise_that_sets_in_after_digital_silence_is_soon_known_for_noise(level: float) -> None:
    for before in (silence(5), np.concatenate((silence(2), babble(4), silence(3)))):
        found = beats(np.concatenate((before, hiss(30, level))))[len(before) * 100 // SPEECH_RATE :]
        assert sum(beat.speaking for beat in found) < 900
        assert not any(beat.speaking or beat.stress for beat in found[1200:])


def test_the_level_of_the_recording_does_not_matter() -> None:
    speech = sample_speech()
    loud, soft = beats(speech), beats(speech * np.float32(10 ** (-30 / 20)))
    assert [beat.speaking for beat in soft] == [beat.speaking for beat in loud]
    np.testing.assert_allclose(
        [beat.stress for beat in soft], [beat.stress for beat in loud], atol=0.06
    )
    assert sum(beat.stress > 0 for beat in loud) > 5


def test_the_pieces_of_the_speech_do_not_matter() -> None:
    speech = babble(2)
    rhythm = SpeechRhythm()
    pieces = np.split(speech, [1, 161, 700, 701, 15_000])
    assert [beat for piece in pieces for beat in rhythm.take(piece)] == beats(speech)
    assert len(beats(speech)) == len(speech) * 100 // SPEECH_RATE
