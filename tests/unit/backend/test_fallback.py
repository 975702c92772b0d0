import threading

import pytest

from backend.speech.espeak_voice import EspeakVoices
from backend.speech.fallback import Speaker
from backend.speech.gtts_voice import GttsVoices
from contracts.errors import Cancelled, SpeechFailed, SpeechTooLong, TextRejected, VoiceNotFound
from tests.fakes.voice import FakeVoices


def ids(voices):
    return [voice.id for voice in voices]


@pytest.fixture
def speaker():
    online = FakeVoices("web", online=True, languages=["en", "de", "pt", "zh-CN", "tlh"])
    offline = FakeVoices("box", languages=["en-gb", "en-us", "de", "pt-br", "cmn"])
    return Speaker([online, offline])


@pytest.mark.parametrize(
    ("voice", "language", "chosen"),
    [
        (None, None, ["web:en", "box:en-us"]),
        (None, "en", ["web:en", "box:en-us"]),
        (None, "en-GB", ["web:en", "box:en-gb"]),
        (None, "en_us", ["web:en", "box:en-us"]),
        (None, "pt-BR", ["web:pt", "box:pt-br"]),
        (None, "pt", ["web:pt", "box:pt-br"]),
        (None, "zh", ["web:zh-CN", "box:cmn"]),
        (None, "zh-CN", ["web:zh-CN", "box:cmn"]),
        ("web:de", None, ["web:de", "box:de"]),
        ("web:zh-CN", None, ["web:zh-CN", "box:cmn"]),
        ("web:tlh", None, ["web:tlh"]),
        ("box:en-gb", "de", ["box:en-gb"]),
    ],
)
def test_a_voice_is_chosen_and_an_offline_one_stands_behind_it(speaker, voice, language, chosen):
    assert ids(speaker.choose(voice, language)) == chosen


@pytest.mark.parametrize(
    ("voice", "language", "chosen"),
    [
        (None, None, ["gtts:en", "espeak:en-us+female"]),
        (None, "pt-BR", ["gtts:pt", "espeak:pt-br+female"]),
        ("gtts:de", None, ["gtts:de", "espeak:de+female"]),
        ("espeak:de", None, ["espeak:de"]),
    ],
)
def test_the_offline_voice_behind_a_womans_is_a_womans(voice, language, chosen):
    speaker = Speaker([GttsVoices(5), EspeakVoices()])
    assert ids(speaker.choose(voice, language)) == chosen


@pytest.mark.parametrize(("voice", "language"), [("web:xx", None), ("nobody", "en"), (None, "xx")])
def test_an_unknown_voice_or_language_is_refused(speaker, voice, language):
    with pytest.raises(VoiceNotFound) as refusal:
        speaker.choose(voice, language)
    assert "/voices" in refusal.value.hint


@pytest.mark.parametrize("fails_at", [0, 1, 2])
def test_the_first_failure_has_the_whole_text_spoken_by_the_next_voice(fails_at):
    online = FakeVoices("web", online=True, fails_at=fails_at)
    offline = FakeVoices("box")
    speaker = Speaker([online, offline])
    speech = speaker.speak("One. Two. Three.", speaker.choose(None, "en"))
    assert speech.voice.id == "box:en"
    assert offline.said == ["One.", "Two.", "Three."]
    assert speech.spoken.marks


def test_nothing_is_mixed_when_the_first_voice_speaks():
    online, offline = FakeVoices("web", online=True), FakeVoices("box")
    speaker = Speaker([online, offline])
    speech = speaker.speak("One. Two.", speaker.choose(None, "en"))
    assert speech.voice.id == "web:en"
    assert (offline.said, speech.spoken.marks) == ([], None)


def test_when_no_voice_can_it_is_told():
    speaker = Speaker([FakeVoices(fails_at=0)])
    with pytest.raises(SpeechFailed):
        speaker.speak("One.", speaker.choose(None, "en"))


def test_speaking_can_be_stopped_between_sentences():
    stop = threading.Event()
    voices = FakeVoices(on_sentence=stop.set)
    speaker = Speaker([voices])
    with pytest.raises(Cancelled):
        speaker.speak("One. Two.", speaker.choose(None, "en"), stop)
    assert voices.said == ["One."]


def test_text_that_speaks_too_long_is_stopped_on_the_way():
    voices = FakeVoices()
    speaker = Speaker([voices])
    with pytest.raises(SpeechTooLong):
        speaker.speak("Ah. " * 1200, speaker.choose(None, "en"))
    assert len(voices.said) <= 601


def test_the_pauses_count_as_well():
    speaker = Speaker([FakeVoices()])
    with pytest.raises(SpeechTooLong):
        speaker.speak("Ah. " * 500, speaker.choose(None, "en"))


def test_text_without_words_is_rejected(speaker):
    with pytest.raises(TextRejected):
        speaker.speak("...", speaker.choose(None, "en"))
