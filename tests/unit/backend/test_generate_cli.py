"""The command `generate` against a backend that runs."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import av
import pytest

from backend.cli import main
from contracts.errors import EngineNotFound, NoFaceFound
from contracts.jobs import JobState
from lipsync_client import LipSync
from tests.fakes.gpu_host import gpu_host
from tests.fakes.running_backend import running_backend
from tests.fakes.uploads import photo, tone

TOKEN = "a canary"


@pytest.fixture
def host():
    with gpu_host() as host:
        yield host


@pytest.fixture
def url(tmp_path, host):
    with running_backend(tmp_path / "data", host.url, token=TOKEN) as url:
        yield url


@pytest.fixture(autouse=True)
def _files(monkeypatch, tmp_path):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("BACKEND_TOKEN", TOKEN)
    Path("face.jpg").write_bytes(photo())
    Path("speech.wav").write_bytes(tone(0.5))


def generate(url, *arguments):
    return main(["generate", "face.jpg", "-o", "out.mp4", "--url", url, *arguments])


def present():
    return sorted(path.name for path in Path().iterdir())


def test_a_text_becomes_a_video_in_a_file(url, host, capsys):
    options = ("--voice", "fake:en", "-O", "fps=30", "--option", "max_height=360")
    assert generate(url, "--text", "Hello there.", *options) == 0
    with av.open("out.mp4") as container:
        assert sum(1 for _ in container.decode(video=0)) == 25
    assert b'"fps":30' in host.forms[0]["options"].replace(b" ", b"")
    out, err = capsys.readouterr()
    assert "out.mp4: 1.00 s by counting" in out
    assert "100%  Done" in err
    assert LipSync(url, TOKEN).jobs().jobs[0].id in err
    assert present() == ["face.jpg", "out.mp4", "speech.wav"]


def test_a_recording_becomes_a_video(url, host):
    assert generate(url, "--speech", "speech.wav") == 0
    assert host.forms[0]["speech"] == tone(0.5)
    assert Path("out.mp4").stat().st_size > 1000


@pytest.mark.parametrize(
    ("arguments", "said", "hint"),
    [
        (["--text", "..."], "no letter", "Type"),
        (["--text", "Hello.", "--voice", "nobody"], "nobody", "/voices"),
        (["--text", "Hello.", "-O", "fps=1000"], "fps", "Frames per second"),
        (["--text", "Hello.", "-O", "nothing=1"], "'nothing'", "fields"),
        (["--text", "Hello.", "-O", "fps"], "no value", "-O fps=30"),
        (["--speech", "none.wav"], "there is no file none.wav", "Check"),
        (["--text", "Hello.", "-o", "none/out.mp4"], "none/out.mp4", "folder"),
        (["--text", "Hello.", "-o", "."], "nothing can be written", "folder"),
        (["--speech", "face.jpg"], "", ""),
    ],
)
def test_what_can_not_be_made_is_told_with_a_remedy(url, host, arguments, said, hint, capsys):
    assert generate(url, *arguments) == 1
    err = capsys.readouterr().err
    assert said in err
    assert len(err.splitlines()) >= 2
    assert hint in err
    assert present() == ["face.jpg", "speech.wav"]
    assert host.renders() == 0


def test_a_face_that_is_no_file_is_told(url, capsys):
    assert main(["generate", "none.jpg", "--text", "a", "-o", "out.mp4", "--url", url]) == 1
    assert "there is no file none.jpg" in capsys.readouterr().err


@pytest.mark.parametrize("error", [NoFaceFound("no face was found"), EngineNotFound("no engine")])
def test_a_job_that_fails_says_why_and_leaves_no_file(url, host, error, capsys):
    host.fail_before = error
    Path("out.mp4").write_bytes(b"older")
    assert generate(url, "--text", "Hello.") == 1
    assert error.detail in capsys.readouterr().err
    assert Path("out.mp4").read_bytes() == b"older"


def test_a_backend_that_is_not_there_is_told(capsys):
    assert generate("http://127.0.0.1:9", "--text", "Hello.") == 1
    assert "127.0.0.1:9 does not answer" in capsys.readouterr().err


def test_the_wrong_token_is_told_and_not_shown(url, monkeypatch, capsys):
    monkeypatch.setenv("BACKEND_TOKEN", "wrong canary")
    assert generate(url, "--text", "Hello.") == 1
    err = capsys.readouterr().err
    assert "token is missing or wrong" in err
    assert "canary" not in err


@pytest.mark.parametrize("arguments", [[], ["--text", "a", "--speech", "speech.wav"]])
def test_either_a_text_or_a_recording_is_needed(arguments):
    with pytest.raises(SystemExit) as ended:
        generate("http://127.0.0.1:9", *arguments)
    assert ended.value.code == 2


def begun(url, *arguments):
    """The command as a process of its own."""
    command = [sys.executable, "-m", "backend", "generate", "face.jpg", "-o", "out.mp4"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    return subprocess.Popen(
        [*command, "--url", url, *arguments],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_ctrl_c_cancels_the_job(url, host):
    host.gate = threading.Event()
    with begun(url, "--text", "Hello.") as process:
        assert host.began.wait(60)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.splitlines()[-1] == "Cancelled."
    assert "Traceback" not in err
    [job] = LipSync(url, TOKEN).jobs().jobs
    assert job.state is JobState.CANCELLED
    assert present() == ["face.jpg", "speech.wav"]
    host.gate.set()


def test_ctrl_c_while_the_job_is_accepted_cancels_it_too(url, host, monkeypatch, capsys):
    submit = LipSync.submit

    def interrupted(self, *arguments, **fields):
        job = submit(self, *arguments, **fields)
        signal.raise_signal(signal.SIGINT)
        return job

    host.gate = threading.Event()
    monkeypatch.setattr(LipSync, "submit", interrupted)
    assert generate(url, "--text", "Hello.") == 130
    assert "Cancelled." in capsys.readouterr().err
    assert LipSync(url, TOKEN).jobs().jobs[0].state is JobState.CANCELLED
    host.gate.set()


def test_ctrl_c_pressed_twice_does_not_wait_for_the_backend(monkeypatch):
    def slow(*_, **__):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("went on")

    monkeypatch.setattr(LipSync, "submit", slow)
    assert generate("http://127.0.0.1:9", "--text", "Hello.") == 130


def test_ctrl_c_after_the_end_keeps_the_job_and_writes_nothing(url, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(LipSync, "download", interrupted)
    assert generate(url, "--text", "Hello.") == 130
    assert LipSync(url, TOKEN).jobs().jobs[0].state is JobState.SUCCEEDED
    assert present() == ["face.jpg", "speech.wav"]
