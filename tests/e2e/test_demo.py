"""What README.md promises: one command makes a talking video, another starts the services."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from contracts.doctor.machine import port_is_free
from tests.pages import commands
from tools.environment import ROOT
from tools.services import free_ports

pytestmark = pytest.mark.slow
FPS = 25
SPEECH_SECONDS = 5.585
"""Length of samples/speech.flac."""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's files without what running it leaves behind, beside its environment."""
    folder = tmp_path_factory.mktemp("clone") / "lipsync studio"
    left = shutil.ignore_patterns(
        ".git", ".venv", ".data", ".env", ".*_cache", "__pycache__", "*.mp4"
    )
    shutil.copytree(ROOT, folder, ignore=left)
    if (ROOT / ".venv").exists():  # else the first command makes one
        (folder / ".venv").symlink_to(ROOT / ".venv", target_is_directory=True)
    return folder


@pytest.fixture(autouse=True, scope="module")
def _offline() -> Iterator[None]:
    """Texts are spoken here, whether or not Google's voice can be reached."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BACKEND_GTTS", "false")
        yield


def run(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "run.py", *arguments]
    return subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)


def frames_of(path: Path) -> NDArray[np.uint8]:
    with av.open(path) as container:
        return np.stack([frame.to_ndarray(format="gray") for frame in container.decode(video=0)])


def sound_seconds(path: Path) -> float:
    with av.open(path) as container:
        rate = container.streams.audio[0].rate
        return sum(frame.samples for frame in container.decode(audio=0)) / rate


@pytest.fixture(scope="module")
def video(project: Path) -> Path:
    """What README's first command makes."""
    command = commands(ROOT / "README.md", "python3")[0]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return project / "demo.mp4"


def test_the_demo_makes_a_video_that_every_player_shows(video: Path) -> None:
    with av.open(video) as container:
        picture, sound = container.streams.video[0], container.streams.audio[0]
        assert (picture.codec_context.name, picture.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert picture.average_rate == FPS
        assert sound.codec_context.name == "aac"
        assert "AI-generated" in container.metadata["comment"]
    data = video.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat"), "the index is not at the start"


def test_the_video_is_as_long_as_its_sound(video: Path) -> None:
    # AAC comes in blocks of 1,024 samples, so that the decoded sound may be a block longer.
    assert len(frames_of(video)) == pytest.approx(sound_seconds(video) * FPS, abs=1.6)


def test_the_mouth_moves_and_the_background_does_not(video: Path) -> None:
    change = frames_of(video).astype(np.float32).std(axis=0)
    mouth, background = change[130:165, 200:245], change[20:120, 400:500]
    assert mouth.mean() > 8
    assert background.mean() < 1


def test_a_second_run_speaks_a_recording_without_setting_up_again(project: Path) -> None:
    speech, output = "samples/speech.flac", project / "welcome.mp4"
    done = run(project, "demo", "--speech", speech, "--output", str(output), "--engine", "facewarp")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"set-up +0\.00 s +nothing to do", done.stdout)
    for stage in ("start", "prepare", "render", "encode", "total"):
        assert re.search(rf"^  {stage} +\d+\.\d\d s", done.stdout, re.M), stage
    assert "from a recording" in done.stdout
    assert abs(len(frames_of(output)) - SPEECH_SECONDS * FPS) <= 1


def test_a_face_that_is_none_is_refused_with_a_hint(project: Path) -> None:
    done = run(project, "demo", "--face", "README.md", "--output", "no.mp4")
    assert done.returncode == 1
    assert "JPEG" in done.stderr
    assert not (project / "no.mp4").exists()


@pytest.fixture
def studio(project: Path) -> Iterator[tuple[subprocess.Popen[str], dict[str, int]]]:
    """`run.py up` on free ports."""
    ports = free_ports()
    options = [f"--{name}-port={port}" for name, port in ports.items()]
    process = subprocess.Popen(
        [sys.executable, "run.py", "up", "--no-browser", *options],
        cwd=project,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with process:
        yield process, ports
        process.terminate()


def wait_until_ready(process: subprocess.Popen[str], ports: dict[str, int]) -> None:
    assert process.stdout is not None
    said = []
    while f"ready: http://localhost:{ports['frontend']}\n" not in said:
        said.append(process.stdout.readline())
        assert said[-1], f"it ended: {said}"


def test_up_says_where_it_is_ready_and_leaves_nothing_running(
    studio: tuple[subprocess.Popen[str], dict[str, int]],
) -> None:
    process, ports = studio
    wait_until_ready(process, ports)
    with urllib.request.urlopen(f"http://localhost:{ports['frontend']}/") as page:
        assert b"csrf_token" in page.read()
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) != 0
    assert all(port_is_free(port) for port in ports.values())


@pytest.mark.skipif(not (shutil.which("curl") or os.environ.get("CI")), reason="needs curl")
def test_the_readmes_examples_of_the_api_work(
    project: Path, studio: tuple[subprocess.Popen[str], dict[str, int]]
) -> None:
    process, ports = studio
    wait_until_ready(process, ports)
    for command in commands(ROOT / "README.md", "curl"):
        here = [word.replace("localhost:8000", f"localhost:{ports['backend']}") for word in command]
        done = subprocess.run([*here, "--fail", "--silent"], cwd=project, check=False)
        assert done.returncode == 0, command
    for name in ("hello.mp4", "welcome.mp4"):
        assert len(frames_of(project / name)) > FPS


def python_blocks(page: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text("utf-8"), re.M | re.S)


def test_the_pages_python_examples_work(
    project: Path, studio: tuple[subprocess.Popen[str], dict[str, int]]
) -> None:
    process, ports = studio
    wait_until_ready(process, ports)
    for example in (python_blocks("README.md")[0], python_blocks("docs/API.md")[0]):
        script = example.replace("localhost:8000", f"localhost:{ports['backend']}")
        done = subprocess.run(
            [sys.executable, "-c", script], cwd=project, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    assert frames_of(project / "hello-python.mp4").shape[1] == 360
    assert len(frames_of(project / "live.mp4")) == pytest.approx(SPEECH_SECONDS * FPS, abs=1)


def test_the_readmes_commands_make_videos(
    project: Path, studio: tuple[subprocess.Popen[str], dict[str, int]]
) -> None:
    process, ports = studio
    wait_until_ready(process, ports)
    urls = {
        "generate": f"http://localhost:{ports['backend']}",
        "ws-client": f"ws://localhost:{ports['backend']}/ws/lipsync",
    }
    lines = [line for line in commands(ROOT / "README.md", ".venv/bin/python") if "backend" in line]
    assert {line[3] for line in lines} == set(urls)
    for line in lines:
        command = [sys.executable, *line[1:], "--url", urls[line[3]]]
        done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "100%  Done" in done.stderr
    assert frames_of(project / "hello-there.mp4").shape[1] == 360
    assert len(frames_of(project / "welcome-back.mp4")) == pytest.approx(
        SPEECH_SECONDS * FPS, abs=1
    )


@pytest.mark.skipif(os.name == "nt", reason="the page shows paths of POSIX")
def test_the_api_pages_command_lines_work(project: Path) -> None:
    for command in commands(ROOT / "docs/API.md", ".venv/bin/python"):
        done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert len(frames_of(project / "welcome.mp4")) == pytest.approx(SPEECH_SECONDS * FPS, abs=1)
    assert (project / "track.csv").read_text().startswith("t,open,width,round,closure,fv\n")


def test_up_names_the_service_that_dies_and_says_why(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BACKEND_HOST", "0.0.0.0")  # noqa: S104
    monkeypatch.delenv("BACKEND_TOKEN", raising=False)
    ports = [f"--{name}-port={port}" for name, port in free_ports().items()]
    done = run(project, "up", "--no-browser", *ports)
    assert done.returncode == 1
    assert re.search(r"the backend ended.*set BACKEND_TOKEN", done.stderr, re.S)


def test_up_says_which_port_is_in_use(project: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        done = run(project, "up", "--no-browser", f"--gpu-port={port}")
    assert done.returncode == 1
    assert f"port {port} is in use" in done.stderr
