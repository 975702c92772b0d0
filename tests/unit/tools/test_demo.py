import io
from contextlib import closing
from pathlib import Path

import pytest
from werkzeug.formparser import parse_form_data

from tools.commands import parser, run
from tools.demo import multipart, summary


def test_a_missing_file_is_named_before_anything_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["demo", "--face", str(tmp_path / "nobody.jpg")]) == 1
    assert "nobody.jpg: there is no such file" in capsys.readouterr().err


def test_an_output_in_a_missing_folder_is_named_before_anything_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["demo", "--output", str(tmp_path / "no/demo.mp4")]) == 1
    assert "does not exist" in capsys.readouterr().err


def test_text_and_recording_exclude_each_other() -> None:
    with pytest.raises(SystemExit):
        parser().parse_args(["demo", "--text", "Hello", "--speech", "a.wav"])


def test_an_unknown_argument_is_refused_except_for_pytest() -> None:
    with pytest.raises(SystemExit):
        run(["doctor", "--loud"])


def test_the_form_keeps_any_text_and_any_file_name(tmp_path: Path) -> None:
    face = tmp_path / 'my "best" face, grün.jpg'
    face.write_bytes(b"\xff\xd8--boundary\r\n")
    text = "Line one\nline “two” 🎬"
    body = b"".join(multipart({"csrf_token": "t", "text": text}, {"image": face}, "b0undary"))
    environ = {
        "wsgi.input": io.BytesIO(body),
        "CONTENT_LENGTH": str(len(body)),
        "CONTENT_TYPE": "multipart/form-data; boundary=b0undary",
        "REQUEST_METHOD": "POST",
    }
    _, form, files = parse_form_data(environ)
    assert list(form.items()) == [("csrf_token", "t"), ("text", text)]
    with closing(files["image"]) as sent:
        assert sent.filename == face.name
        assert sent.read() == face.read_bytes()


def test_the_summary_says_how_fast_the_engine_and_the_whole_were() -> None:
    job = {
        "engine": "facewarp",
        "voice": "espeak:en-us",
        "speech_seconds": 5.0,
        "report": {"warnings": ["the face is dark"]},
    }
    text = summary(job, {"set-up": 0.0, "render": 2.0, "video": 10.0}, Path("demo.mp4"))
    assert "facewarp" in text
    assert "espeak:en-us" in text
    assert "2.50 × real time" in text
    assert "0.50 × real time" in text
    assert "nothing to do" in text
    assert "the face is dark" in text
