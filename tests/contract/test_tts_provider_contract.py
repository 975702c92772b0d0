"""What every family of voices must do."""

import numpy as np
import pytest

from backend.speech.espeak_voice import EspeakVoices
from backend.speech.fallback import Speaker
from backend.speech.gtts_voice import GttsVoices
from tests.fakes.voice import FakeVoices

TEXT = "Peter may bring Bob a map. Is that fine? Yes!"


@pytest.fixture(
    params=[
        pytest.param(FakeVoices, id="fake"),
        pytest.param(EspeakVoices, id="espeak"),
        pytest.param(lambda: GttsVoices(5), id="gtts", marks=pytest.mark.network),
    ],
    scope="module",
)
def provider(request):
    return request.param()


@pytest.fixture
def voice(provider):
    return next(voice for voice in provider.voices if voice.language.startswith("en"))


def test_voices_have_ids_of_their_own_family(provider):
    ids = [voice.id for voice in provider.voices]
    assert len(set(ids)) == len(ids)
    assert len({voice_id.partition(":")[0] for voice_id in ids}) == 1


def test_a_sentence_becomes_audible_mono_samples(provider, voice):
    spoken = provider.speak("Hello there.", voice)
    assert spoken.samples.dtype == np.int16
    assert spoken.samples.ndim == 1
    assert spoken.sample_rate >= 16_000
    assert 0.3 < spoken.seconds < 5
    assert np.abs(spoken.samples).max() > 1000


def test_marks_are_there_if_promised_and_lie_in_order_within_the_speech(provider, voice):
    spoken = provider.speak("Hello there.", voice)
    if not voice.marks:
        assert spoken.marks is None
        return
    assert spoken.marks
    starts = [mark.start for mark in spoken.marks]
    assert starts == sorted(starts)
    assert all(mark.start <= mark.end <= spoken.seconds + 1e-9 for mark in spoken.marks)


@pytest.mark.parametrize(
    "sentence", ["<speak>hi</speak>", "a & b < c", "[[h@l'oU]]", "$5 {x} \\n", "é" * 300]
)
def test_no_sentence_is_too_strange(provider, voice, sentence):
    assert len(provider.speak(sentence, voice).samples)


def test_a_text_is_spoken_whole_and_its_marks_still_lie_within_it(provider, voice):
    speaker = Speaker([provider])
    speech = speaker.speak(TEXT, [voice])
    one = speaker.speak("Yes!", [voice])
    assert speech.voice == voice
    assert speech.spoken.seconds > 1.5 * one.spoken.seconds
    for before, after in zip(
        speech.spoken.marks or (), (speech.spoken.marks or ())[1:], strict=False
    ):
        assert before.start <= before.end <= after.start + 1e-6
