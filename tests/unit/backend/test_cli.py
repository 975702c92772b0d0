import json
import os
import subprocess
import sys
import wave
from pathlib import Path

import pytest

from backend.cli import main


@pytest.fixture(autouse=True)
def _offline(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BACKEND_GTTS", "false")


def test_speak_writes_sound_and_marks(tmp_path, capsys):
    arguments = ["speak", "Hello. Bye.", "-o", "out.wav", "--marks", "marks.json"]
    assert main([*arguments, "--voice", "espeak:en-us+female"]) == 0
    with wave.open("out.wav") as file:
        seconds = file.getnframes() / file.getframerate()
    marks = json.loads((tmp_path / "marks.json").read_text())
    assert 0.8 < seconds < 4
    assert 0 < marks[0]["start"] < marks[-1]["end"] < seconds
    assert "espeak:en-us+female" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["..."], "no letter"), (["Hello.", "--voice", "nobody"], "/voices")],
)
def test_what_cannot_be_spoken_is_told_with_a_remedy(arguments, said, capsys):
    assert main(["speak", *arguments, "-o", "out.wav"]) == 1
    assert said in capsys.readouterr().err


def test_serving_others_without_a_token_is_refused_in_words(monkeypatch, capsys):
    monkeypatch.setenv("BACKEND_HOST", "0.0.0.0")  # noqa: S104
    assert main(["serve"]) == 2
    assert "set BACKEND_TOKEN" in capsys.readouterr().err


def test_a_setting_that_cannot_be_read_is_told_by_its_name(monkeypatch, capsys):
    monkeypatch.setenv("BACKEND_GPU_TIMEOUT_SECONDS", "soon")
    assert main(["serve"]) == 2
    assert "BACKEND_GPU_TIMEOUT_SECONDS: " in capsys.readouterr().err


def test_speaking_says_nothing_of_libraries():
    # -W always, because whoever switches warnings on must not see those of pydub either.
    arguments = [sys.executable, "-W", "always", "-m", "backend", "speak", "Hi.", "-o", "out.wav"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_doctor_looks_also_where_a_setting_cannot_be(monkeypatch, capsys):
    monkeypatch.setenv("BACKEND_PORT", "70000")
    assert main(["doctor", "--json", "--service"]) == 1
    found = json.loads(capsys.readouterr().out)["findings"]
    (fault,) = [each for each in found if each["state"] == "fault"]
    assert fault["fix"] == "unset BACKEND_PORT"
    assert any(each["topic"] == "voices" for each in found)
