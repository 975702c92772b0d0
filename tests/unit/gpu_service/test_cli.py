"""The command line, as a person types it."""

import csv
import json
import re
from pathlib import Path

import av
import pytest

from gpu_service.cli import main
from tests.media import SAMPLES, media_file, picture, saved, tone, wav

PORTRAIT = str(SAMPLES / "portrait.jpg")


@pytest.fixture
def speech(tmp_path: Path) -> str:
    (tmp_path / "speech.wav").write_bytes(wav(tone(0.4, 16_000), 16_000))
    return str(tmp_path / "speech.wav")


def test_render_writes_a_video_and_says_what_happened(
    tmp_path: Path, speech: str, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out.mp4"
    option = ["--option", "max_height=384", "--option", "bbox_shift=3"]
    assert main(["render", PORTRAIT, speech, "-o", str(output), *option]) == 0
    with av.open(output) as video:
        assert video.streams.video[0].frames == 10
        assert video.streams.video[0].height == 384
    said = capsys.readouterr().out
    for stage in ("decode", "track", "prepare", "render", "encode", "real time", "facewarp"):
        assert stage in said
    assert "does not use: bbox_shift" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.mp4", "speech.wav"]


@pytest.mark.parametrize(
    ("face", "arguments", "sentence"),
    [
        (b"no picture", [], "neither a picture"),
        (saved(picture(300, 300), "PNG"), [], "no face"),
        (media_file("mp4", video="libx264"), [], "no frame of the video shows a face"),
        (None, ["--engine", "dream"], "no engine 'dream'"),
        (None, ["--option", "fps=2"], "fps"),
        (None, ["--option", "colour=red"], "colour"),
        (None, ["--option", "fps"], "KEY=VALUE"),
    ],
)
def test_a_fault_is_one_sentence_and_a_hint_and_leaves_what_stood_there(
    face: bytes | None,
    arguments: list[str],
    sentence: str,
    tmp_path: Path,
    speech: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "face").write_bytes(face or Path(PORTRAIT).read_bytes())
    output = tmp_path / "out.mp4"
    output.write_bytes(b"an older video")
    command = ["render", str(tmp_path / "face"), speech, "-o", str(output)]
    assert main([*command, *arguments]) == 1
    said = capsys.readouterr()
    assert sentence in said.err
    assert "Traceback" not in said.err
    assert len(said.err.splitlines()) == 2
    assert output.read_bytes() == b"an older video"
    assert len(list(tmp_path.iterdir())) == 3


def test_a_file_that_is_not_there_is_named(
    tmp_path: Path, speech: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["render", "nowhere.jpg", speech, "-o", str(tmp_path / "out.mp4")]) == 1
    assert "nowhere.jpg" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("place", "sentence"),
    [(".", "Is a directory"), ("nowhere/out.mp4", "nowhere: there is no such folder")],
)
def test_a_place_where_no_file_can_be_is_named_before_the_work(
    place: str,
    sentence: str,
    tmp_path: Path,
    speech: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def rendered(*_: object) -> None:
        raise AssertionError("the work began")

    monkeypatch.setattr("gpu_service.cli.render", rendered)
    assert main(["render", PORTRAIT, speech, "-o", str(tmp_path / place)]) == 1
    assert sentence in capsys.readouterr().err


def test_a_render_that_is_stopped_by_hand_ends_quietly_and_leaves_no_file(
    tmp_path: Path,
    speech: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupt(record: object, payload: bytes) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("gpu_service.cli._show_progress", interrupt)
    assert main(["render", PORTRAIT, speech, "-o", str(tmp_path / "out.mp4")]) == 130
    assert "Traceback" not in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["speech.wav"]


@pytest.mark.parametrize("arguments", [[], ["dance"], ["render"], ["render", "a", "b"]])
def test_a_wrong_command_exits_with_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as exited:
        main(arguments)
    assert exited.value.code == 2


def test_a_wrong_setting_is_named_and_exits_with_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GPU_PORT", "ninety")
    assert main(["engines"]) == 2
    assert capsys.readouterr().err.startswith("GPU_PORT: ")


def test_engines_are_listed_ready_or_with_what_they_need(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GPU_WEIGHTS_DIR", str(tmp_path))
    assert main(["engines"]) == 0
    said = capsys.readouterr().out
    assert re.findall(r"^(\w+) +(ready|not ready)$", said, re.MULTILINE) == [
        ("wav2lip", "not ready"),
        ("facewarp", "ready"),
    ]
    assert "weights add" in said


def test_the_mouth_track_has_25_rows_a_second(tmp_path: Path) -> None:
    output = tmp_path / "track.csv"
    assert main(["mouth-track", str(SAMPLES / "speech.flac"), "-o", str(output)]) == 0
    with output.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["t", "open", "width", "round", "closure", "fv"]
    assert [float(row["t"]) for row in rows[:3]] == [0.0, 0.04, 0.08]
    with av.open(str(SAMPLES / "speech.flac")) as sound:
        seconds = sum(block.samples for block in sound.decode(audio=0)) / sound.streams[0].rate
    assert len(rows) == round(seconds * 25)
    assert max(float(row["open"]) for row in rows) > 0.3


def test_marks_steer_the_mouth_track(tmp_path: Path, speech: str) -> None:
    marks = [{"start": 0.1, "end": 0.2, "phoneme": "m"}, {"start": 0.2, "end": 0.4, "phoneme": "a"}]
    (tmp_path / "marks.json").write_text(json.dumps(marks))
    tracks = []
    for arguments in ([], ["--marks", str(tmp_path / "marks.json")]):
        output = tmp_path / "track.csv"
        assert main(["mouth-track", speech, "-o", str(output), *arguments]) == 0
        tracks.append(output.read_text())
    assert tracks[0] != tracks[1]


def test_marks_that_are_none_are_refused(
    tmp_path: Path, speech: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "marks.json").write_text('[{"phoneme": "a"}]')
    command = ["mouth-track", speech, "-o", str(tmp_path / "t.csv")]
    assert main([*command, "--marks", str(tmp_path / "marks.json")]) == 1
    assert "no list of phonemes" in capsys.readouterr().err


def test_doctor_looks_also_where_a_setting_cannot_be(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GPU_PORT", "70000")
    assert main(["doctor", "--json", "--service"]) == 1
    found = json.loads(capsys.readouterr().out)["findings"]
    (fault,) = [each for each in found if each["state"] == "fault"]
    assert fault["what"].startswith("GPU_PORT (from the environment)")
    assert fault["fix"] == "unset GPU_PORT"
    assert any(each["topic"] == "engines" for each in found)
