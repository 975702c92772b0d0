from pathlib import Path

import gtts.tts
import pytest

from backend.doctor.voices import look_at_offline_voice, look_at_online_voice
from backend.settings import Settings
from tests.fakes.uploads import mp3


def settings(**chosen: object) -> Settings:
    return Settings(_env_file=None, **chosen)  # type: ignore[arg-type, call-arg]


def test_the_offline_voice_speaks() -> None:
    found = look_at_offline_voice()
    assert found.state == "ok"
    assert "spoke" in found.what


@pytest.mark.parametrize(
    ("loader", "words"),
    [
        ("import os; os.abort()", "exit status"),
        ("raise ImportError('no espeak here')", "no espeak here"),
    ],
)
def test_an_offline_voice_that_cannot_speak_is_a_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loader: str, words: str
) -> None:
    (tmp_path / "espeakng_loader.py").write_text(loader)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    found = look_at_offline_voice()
    assert found.state == "fault"
    assert words in found.what
    assert "requirements/backend.txt" in found.fix


def test_googles_voice_that_answers_is_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gtts.tts.gTTS, "stream", lambda self: [mp3()])
    found = look_at_online_voice(settings())
    assert (found.state, found.what) == ("ok", "Google's voice answers")


def test_googles_voice_that_fails_is_a_fault_with_the_line_that_leaves_it_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gtts.tts.gTTS, "stream", lambda self: [b"<html>Too many requests</html>"])
    monkeypatch.setenv("BACKEND_GTTS", "true")
    found = look_at_online_voice(settings())
    assert found.state == "fault"
    assert found.fix.startswith("BACKEND_GTTS=false   # in the environment, ")


def test_googles_voice_is_left_alone_where_it_is_switched_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def stream(_: object) -> list[bytes]:
        raise AssertionError("it was sent something")

    monkeypatch.setattr(gtts.tts.gTTS, "stream", stream)
    assert look_at_online_voice(settings(gtts=False)).state == "ok"
