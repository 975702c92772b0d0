import socket
import threading

import gtts.tts
import numpy as np
import pytest

from backend.speech.gtts_voice import SAMPLE_RATE, GttsVoices
from contracts.errors import SpeechFailed
from tests.fakes.uploads import mp3


@pytest.fixture
def voices():
    return GttsVoices(timeout_seconds=0.2)


def test_what_the_service_sends_becomes_samples(voices, monkeypatch):
    monkeypatch.setattr(gtts.tts.gTTS, "stream", lambda self: [mp3()])
    spoken = voices.speak("Hello.", voices.voices[0])
    assert spoken.sample_rate == SAMPLE_RATE
    assert spoken.seconds == pytest.approx(1.0, abs=0.1)
    assert np.abs(spoken.samples).max() == pytest.approx(0.4 * 32768, rel=0.1)
    assert spoken.marks is None


@pytest.mark.parametrize("answer", [b"", b"<html>Too many requests</html>"])
def test_an_answer_that_is_no_sound_is_a_failure(voices, monkeypatch, answer):
    monkeypatch.setattr(gtts.tts.gTTS, "stream", lambda self: [answer])
    with pytest.raises(SpeechFailed):
        voices.speak("Hello.", voices.voices[0])


def test_a_service_that_never_answers_is_given_up_in_time(voices, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{silent.getsockname()[1]}")
        failed = threading.Event()

        def speak():
            with pytest.raises(SpeechFailed):
                voices.speak("Hello.", voices.voices[0])
            failed.set()

        threading.Thread(target=speak, daemon=True).start()
        assert failed.wait(20), "it waits for ever"


def test_every_voice_sends_the_text_away(voices):
    assert all(voice.online and not voice.marks for voice in voices.voices)
    assert "gtts:en" in {voice.id for voice in voices.voices}
