import errno
import io
import re
import socket
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from threading import Thread

import pytest
from werkzeug.formparser import parse_form_data

from tools.commands import parser, run
from tools.demo import Browser, DemoFailed, failure, multipart, summary
from tools.services import Service, Stack


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


def test_an_output_that_cannot_be_written_is_named_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(**_options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    assert run(["demo", "--output", str(tmp_path / "demo.mp4")]) == 1
    assert re.search(r"can't write into .*: No space left", capsys.readouterr().err)


def serve(answer: bytes) -> tuple[str, Thread]:
    """A server that gives one answer; its address, and the thread that gives it."""
    listening = socket.create_server(("127.0.0.1", 0))

    def give() -> None:
        with listening, listening.accept()[0] as caller:
            caller.recv(65536)
            caller.sendall(answer)

    thread = Thread(target=give)
    thread.start()
    return f"http://127.0.0.1:{listening.getsockname()[1]}", thread


def test_a_video_that_breaks_off_is_not_kept(tmp_path: Path) -> None:
    url, thread = serve(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
    with pytest.raises(DemoFailed, match="broke off"):
        Browser(url).download("/jobs/1/video", tmp_path / "demo.mp4")
    thread.join()
    assert list(tmp_path.iterdir()) == []


def test_an_error_while_the_job_runs_is_told_with_its_hint() -> None:
    body = b'{"detail": "the backend does not answer", "hint": "Start it."}'
    head = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: %d\r\n\r\n" % len(body)
    url, thread = serve(head + body)
    with pytest.raises(DemoFailed, match=r"does not answer\nStart it\."):
        Browser(url).job("1")
    thread.join()


def test_a_failure_that_nobody_foresaw_is_told_with_the_logs_that_go_with_the_demo(
    tmp_path: Path,
) -> None:
    log = tmp_path / "backend.log"
    log.write_text("ZeroDivisionError: division by zero\n")
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        stack = Stack("", (Service("backend", process, "", log),))
    error = {"code": "INTERNAL", "detail": "the job failed", "hint": "Look at the log."}
    assert failure(error, stack) == (
        "the job failed\nLook at the log.\n"
        "The backend's last log lines:\n  ZeroDivisionError: division by zero\n"
    )
    assert failure(error | {"code": "NO_FACE_FOUND"}, stack) == "the job failed\nLook at the log."


@pytest.mark.parametrize("port", ["-1", "65536", "http"])
def test_a_port_that_cannot_be_is_refused(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run(["up", "--gpu-port", port])
    assert "is not a port" in capsys.readouterr().err


def test_up_takes_its_ports_from_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKEND_PORT", "8123")
    assert parser().parse_args(["up"]).backend_port == 8123
    assert parser().parse_args(["up", "--backend-port", "8200"]).backend_port == 8200


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
