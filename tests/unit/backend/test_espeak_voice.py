import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import espeakng_loader
import numpy as np
import pytest

from backend.speech.espeak_voice import EspeakVoices


@pytest.fixture(scope="module")
def voices():
    return EspeakVoices()


def voice(voices, voice_id):
    return next(voice for voice in voices.voices if voice.id == voice_id)


def test_phonemes_are_told_with_their_times(voices):
    spoken = voices.speak("Bob may pop.", voice(voices, "espeak:en-us"))
    phonemes = [mark.phoneme for mark in spoken.marks]
    assert [p for p in phonemes if p in {"b", "m", "p"}] == ["b", "b", "m", "p", "p"]
    assert all(a.end == b.start for a, b in zip(spoken.marks, spoken.marks[1:], strict=False))
    assert spoken.marks[-1].end == pytest.approx(spoken.seconds)


@pytest.mark.parametrize(
    ("voice_id", "text"),
    [
        ("espeak:en-us", "Hello."),
        ("espeak:hi", "नमस्ते"),
        ("espeak:vi", "Xin chào"),
        ("espeak:cmn", "你好"),
        ("espeak:ar", "مرحبا"),
        ("espeak:fr-fr+female", "Bonjour"),
    ],
)
def test_many_languages_are_spoken(voices, voice_id, text):
    spoken = voices.speak(text, voice(voices, voice_id))
    assert np.abs(spoken.samples).max() > 1000
    assert spoken.marks


def test_markup_is_text_like_any_other(voices):
    british = voice(voices, "espeak:en-gb")
    plain = voices.speak("hello there", british)
    pause = voices.speak('<speak>hello <break time="10s"/> there</speak>', british)
    assert pause.seconds < plain.seconds + 9
    phonemes = voices.speak("[[h@l'oU]]", british)
    assert len(phonemes.marks) > 6


def test_female_voices_sound_different(voices):
    one = voices.speak("Hello.", voice(voices, "espeak:en-us"))
    other = voices.speak("Hello.", voice(voices, "espeak:en-us+female"))
    assert one.samples.tobytes() != other.samples.tobytes()


def test_threads_get_what_they_asked_for(voices):
    english, german = voice(voices, "espeak:en-us"), voice(voices, "espeak:de")
    alone = {v.id: voices.speak("Hallo Welt.", v).marks for v in (english, german)}
    phonemes = {i: [mark.phoneme for mark in marks] for i, marks in alone.items()}
    with ThreadPoolExecutor(4) as pool:
        takes = list(
            pool.map(lambda v: (v.id, voices.speak("Hallo Welt.", v)), [english, german] * 8)
        )
    assert phonemes[english.id] != phonemes[german.id]
    # Not the samples: the library varies noise and timing a little.
    for voice_id, spoken in takes:
        assert [mark.phoneme for mark in spoken.marks] == phonemes[voice_id]


def test_voice_ids_are_unique(voices):
    names = [voice.id for voice in voices.voices]
    assert len(names) == len(set(names)) > 200


def test_data_at_a_long_path_do_not_end_the_process(tmp_path):
    folder = tmp_path / ("a" * 120) / ("b" * 120)
    folder.mkdir(parents=True)
    (folder / "espeak-ng-data").symlink_to(espeakng_loader.get_data_path())
    program = (
        "import sys, espeakng_loader\n"
        "espeakng_loader.get_data_path = lambda: sys.argv[1]\n"
        "from backend.speech.espeak_voice import EspeakVoices\n"
        "voices = EspeakVoices()\n"
        "print(len(voices.speak('hello', voices.voices[0]).samples))\n"
    )
    arguments = [sys.executable, "-W", "ignore", "-c", program, str(folder / "espeak-ng-data")]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 1000


def test_missing_data_are_an_error_and_not_the_end_of_the_process(tmp_path):
    program = (
        "import espeakng_loader\n"
        f"espeakng_loader.get_data_path = lambda: {str(tmp_path)!r}\n"
        "from backend.speech.espeak_voice import EspeakVoices\n"
        "from contracts.errors import SpeechFailed\n"
        "try:\n    EspeakVoices()\nexcept SpeechFailed:\n    print('told')\n"
    )
    arguments = [sys.executable, "-W", "ignore", "-c", program]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "told", done.stderr


def test_marks_lie_where_the_sounds_are(voices):
    spoken = voices.speak("A puppy, a happy paper copy.", voice(voices, "espeak:en-us"))

    def level(mark, seconds):
        begin = round(mark.start * spoken.sample_rate)
        end = begin + round(seconds * spoken.sample_rate)
        return np.sqrt(np.mean(spoken.samples[begin:end].astype(float) ** 2))

    closures = [level(mark, 0.03) for mark in spoken.marks if mark.phoneme == "p"]
    stressed = [level(mark, 0.06) for mark in spoken.marks if mark.phoneme.startswith("\u02c8")]
    assert len(closures) >= 5
    assert np.median(closures) < 0.2 * np.median(stressed)
