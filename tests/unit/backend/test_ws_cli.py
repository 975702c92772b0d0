"""The command `ws-client` against a backend that runs, and against servers that are none."""

import base64
import io
import json
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import av
import pytest
from websockets.sync.server import serve

from backend import ws_cli
from backend.cli import main
from contracts.errors import NoFaceFound
from contracts.jobs import JobState
from lipsync_client import LipSync
from tests.fakes.gpu_host import gpu_host
from tests.fakes.running_backend import running_backend
from tests.fakes.scripted_server import answer, scripted
from tests.fakes.uploads import photo, tone

TOKEN = "a canary"
IMAGE, AUDIO = photo(), tone(0.3)


def b64(data):
    return base64.b64encode(data).decode()


@pytest.fixture
def host():
    with gpu_host() as host:
        yield host


@pytest.fixture
def url(tmp_path, host):
    with running_backend(tmp_path / "data", host.url, token=TOKEN) as url:
        yield url.replace("http", "ws") + "/ws/lipsync"


@pytest.fixture(autouse=True)
def _files(monkeypatch, tmp_path):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("BACKEND_TOKEN", TOKEN)
    Path("face.jpg").write_bytes(IMAGE)
    Path("face.b64").write_text(base64.encodebytes(IMAGE).decode())
    Path("face.txt").write_text(f"data:image/jpeg;base64,{b64(IMAGE)}\n")
    Path("speech.wav").write_bytes(AUDIO)
    Path("speech.txt").write_text(b64(AUDIO))


def run(url, *arguments):
    return main(["ws-client", *arguments, "--url", url])


def written():
    return sorted(path.name for path in Path().iterdir() if path.stem not in ("face", "speech"))


@pytest.mark.parametrize("image", ["face.jpg", "face.b64", "face.txt", b64(IMAGE)])
@pytest.mark.parametrize("audio", ["speech.wav", "speech.txt", b64(AUDIO)])
def test_each_input_may_be_a_file_a_text_file_or_base64(url, host, image, audio):
    assert run(url, image, audio, "out.mp4") == 0
    assert (host.forms[0]["face"], host.forms[0]["speech"]) == (IMAGE, AUDIO)
    with av.open("out.mp4") as container:
        assert sum(1 for _ in container.decode(video=0)) == 25


@pytest.mark.parametrize(
    "content", [IMAGE, b64(IMAGE).encode(), f"data:image/jpeg;base64,{b64(IMAGE)}\r\n".encode()]
)
def test_a_dash_is_standard_input_as_bytes_or_base64(url, host, monkeypatch, content):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    assert run(url, "-", "speech.wav", "out.MP4") == 0
    assert host.forms[0]["face"] == IMAGE
    assert written() == ["out.MP4"]


def test_without_a_name_the_video_is_written_as_base64(url, capsys):
    assert run(url, "face.jpg", "speech.wav") == 0
    assert written() == ["output_video.b64"]
    job_id = capsys.readouterr().out.split()[-1]
    http = url.replace("ws", "http", 1).removesuffix("/ws/lipsync")
    video = LipSync(http, TOKEN).download(job_id, "video.mp4").read_bytes()
    assert base64.b64decode(Path("output_video.b64").read_text(), validate=True) == video


def test_progress_is_shown(url, capsys):
    assert run(url, "face.jpg", "speech.wav", "out.mp4") == 0
    assert "100%  Done" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["none.jpg", "speech.wav"], "none.jpg is neither a file nor base64"),
        (["A" * 40, "speech.wav"], "is neither a file nor base64"),
        (["!" * 5000, "speech.wav"], "!... is neither a file nor base64"),
        (["-", "-"], "can't both be -"),
        (["face.jpg", "speech.wav", "none/out.mp4"], "nothing can be written to none/out.mp4"),
        (["face.jpg", "speech.wav", "."], "nothing can be written to ."),
        (["face.jpg", "face.jpg"], ""),
        (["speech.wav", "speech.wav"], ""),
    ],
)
def test_what_can_not_be_made_is_told_with_a_remedy(url, host, arguments, said, capsys):
    assert run(url, *arguments) == 1
    err = capsys.readouterr().err
    assert said in err
    assert len(err.splitlines()) >= 2
    assert written() == []
    assert host.renders() == 0


def test_files_over_the_limit_are_not_sent(monkeypatch, connects, capsys):
    monkeypatch.setattr(ws_cli, "MAX_UPLOAD_BYTES", 1000)
    assert run("ws://127.0.0.1:9", "face.jpg", "speech.wav") == 1
    assert "MB together" in capsys.readouterr().err
    assert connects == []


def test_a_job_that_fails_says_why_and_leaves_what_was_there(url, host, capsys):
    host.fail_before = NoFaceFound("no face was found")
    Path("out.mp4").write_bytes(b"older")
    assert run(url, "face.jpg", "speech.wav", "out.mp4") == 1
    assert "no face was found\nUse a picture" in capsys.readouterr().err
    assert Path("out.mp4").read_bytes() == b"older"


def test_the_wrong_token_is_told_and_not_shown(url, monkeypatch, capsys):
    monkeypatch.setenv("BACKEND_TOKEN", "wrong canary")
    assert run(url, "face.jpg", "speech.wav") == 1
    err = capsys.readouterr().err
    assert "token is missing or wrong" in err
    assert "canary" not in err


@pytest.mark.parametrize("bad", ["ws://127.0.0.1:9/ws/lipsync", "http://127.0.0.1:9", "nonsense"])
def test_a_socket_that_is_not_there_is_told(bad, capsys):
    assert run(bad, "face.jpg", "speech.wav") == 1
    assert f"no socket answers at {bad}" in capsys.readouterr().err


def test_a_server_that_knows_no_sockets_is_told(capsys):
    with scripted(answer("<html>", "404 Not Found")) as server:
        assert run(server.url.replace("http", "ws"), "face.jpg", "speech.wav") == 1
    assert "answered 404 instead of opening a socket" in capsys.readouterr().err


@contextmanager
def socket_that(behave):
    with serve(behave, "127.0.0.1", 0, max_size=None) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("said_by_server", "told"),
    [
        ("hello", "none of a base64 socket"),
        ("[]", "none of a base64 socket"),
        ("{}", "none of a base64 socket"),
        ('{"progress": 5}', "none of a base64 socket"),
        ('{"video_base64": "!", "job_id": "a"}', "no base64"),
        ('{"video_base64": 5}', "no base64"),
        ('{"error": {"detail": "odd"}}', "odd"),
        ('{"error": "odd"}', "odd"),
        ('{"error": null}', "answered"),
    ],
)
def test_an_answer_of_another_kind_is_told(said_by_server, told, capsys):
    def behave(socket):
        socket.recv()
        socket.send(said_by_server)

    with socket_that(behave) as url:
        assert run(url, "face.jpg", "speech.wav", "out.mp4") == 1
    assert told in capsys.readouterr().err
    assert written() == []


def test_an_older_servers_answer_that_names_no_job_is_taken(capsys):
    def behave(socket):
        socket.recv()
        socket.send(json.dumps({"video_base64": b64(b"video")}))

    with socket_that(behave) as url:
        assert run(url, "face.jpg", "speech.wav", "out.mp4") == 0
    assert Path("out.mp4").read_bytes() == b"video"
    assert capsys.readouterr().out == "out.mp4\n"


@pytest.mark.parametrize(
    ("code", "told"),
    [(1009, "larger than the backend takes"), (1012, "goes on"), (1011, "closed before")],
)
def test_a_socket_that_is_closed_early_says_why(code, told, capsys):
    def behave(socket):
        socket.recv()
        socket.close(code)

    with socket_that(behave) as url:
        assert run(url, "face.jpg", "speech.wav") == 1
    assert told in capsys.readouterr().err


def test_ctrl_c_cancels_the_job(url, host, monkeypatch):
    host.gate = threading.Event()

    def interrupted(*_, **__):
        assert host.began.wait(30)
        raise KeyboardInterrupt

    monkeypatch.setattr("backend.progress_bar.ProgressBar.show", interrupted)
    assert run(url, "face.jpg", "speech.wav") == 130
    studio = LipSync(url.replace("ws", "http", 1).removesuffix("/ws/lipsync"), TOKEN)
    *_, last = studio.events(studio.jobs().jobs[0].id, timeout_seconds=30)
    assert last.state is JobState.CANCELLED
    host.gate.set()
