"""The notebooks from their first cell to their last, with real services behind them."""

import base64
import io
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import av
import pytest
import requests
from nbclient.exceptions import CellExecutionError

from tests import notebooks
from tests.fakes.ngrok_agent import DEV_DOMAIN, GOOD, NgrokStandIn
from tests.processes import wait_until
from tests.services import three_services
from tools.environment import ROOT

pytestmark = pytest.mark.slow
LOCAL = {"PYTHON": "this one", "TORCH": False, "TUNNEL": "none", "PORT": 0, "WATCH": False}


@pytest.fixture(autouse=True)
def _jupyter_keeps_to_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "jupyter"))
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """What a clone of the repository holds of what the notebook needs."""
    folder = tmp_path / "a clone"
    for name in ("notebooks", "tools", "contracts", "gpu_service", "samples", "requirements"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def num_frames(html: str) -> int:
    found = re.search(r"data:video/mp4;base64,([\w+/=\s]+)", html)
    assert found, html[:200]
    with av.open(io.BytesIO(base64.b64decode(found[1]))) as video:
        return sum(1 for _ in video.decode(video=0))


def test_the_colab_notebook_ends_with_two_seconds_of_video_and_their_frames_a_second(
    project: Path, tmp_path: Path
) -> None:
    form = {**LOCAL, "FOLDER": str(project), "ENGINE": "facewarp"}
    notebook = notebooks.filled_in("colab_gpu_server.ipynb", form)
    notebooks.run(notebook, tmp_path, GPU_TOKEN="the-persons-own-token")
    cells = notebooks.code_cells(notebook)
    last_lines = [notebooks.text_of(cell).strip().splitlines()[-1] for cell in cells]
    assert all(line.startswith("Done: ") for line in last_lines), last_lines
    assert "lipsync://" in notebooks.text_of(cells[4])
    assert re.search(r"facewarp rendered \d+ frames a second \(50 frames in", last_lines[5])
    assert num_frames(notebooks.shown(cells[5])) == 50
    served = re.search(r"running on (http://\S+)", notebooks.text_of(cells[4]))
    assert served
    wait_until(lambda: not answers(served[1]))  # the kernel has ended, and the host with it


def test_behind_ngrok_the_notebook_gives_the_address_and_keeps_the_authtoken_to_itself(
    project: Path, tmp_path: Path
) -> None:
    agent = NgrokStandIn(tmp_path)
    form = {**LOCAL, "FOLDER": str(project), "TUNNEL": "ngrok", "ENGINE": "facewarp"}
    notebook = notebooks.filled_in("colab_gpu_server.ipynb", form)
    environment = {"PYNGROK_NGROK_PATH": str(agent.path), "NGROK_AUTHTOKEN": GOOD}
    notebooks.run(notebook, tmp_path, **environment)
    texts = [notebooks.text_of(cell) for cell in notebooks.code_cells(notebook)]
    assert re.search(rf"^connection +lipsync://\S+@{DEV_DOMAIN}$", texts[4], re.M)
    assert "facewarp rendered" in texts[5]
    assert GOOD not in "".join(texts)


def test_a_wrong_authtoken_stops_the_notebook_with_where_to_get_a_right_one(
    project: Path, tmp_path: Path
) -> None:
    agent, wrong = NgrokStandIn(tmp_path), "2wrongwrongwrongwrongwrong"
    form = {**LOCAL, "FOLDER": str(project), "TUNNEL": "ngrok"}
    notebook = notebooks.filled_in("colab_gpu_server.ipynb", form)
    environment = {"PYNGROK_NGROK_PATH": str(agent.path), "NGROK_AUTHTOKEN": wrong}
    with pytest.raises(CellExecutionError, match="It failed: the GPU host ended") as raised:
        notebooks.run(notebook, tmp_path, **environment)
    said = notebooks.text_of(notebooks.code_cells(notebook)[4]) + str(raised.value)
    assert "ERR_NGROK_107" in said
    assert "https://dashboard.ngrok.com/get-started/your-authtoken" in said
    assert wrong not in said


def test_a_repository_that_is_none_is_said_so_and_stops_the_notebook(tmp_path: Path) -> None:
    form = {"REPOSITORY": str(tmp_path / "nothing"), "FOLDER": str(tmp_path / "clone")}
    notebook = notebooks.filled_in("colab_gpu_server.ipynb", form)
    with pytest.raises(CellExecutionError):
        notebooks.run(notebook, tmp_path)
    first, second, *_ = notebooks.code_cells(notebook)
    assert "What to do: correct REPOSITORY" in notebooks.text_of(first)
    assert second.execution_count is None


def test_the_quickstart_shows_a_video_that_the_services_made(tmp_path: Path) -> None:
    token = "one-that-callers-must-send"
    tokens = {"BACKEND_TOKEN": token, "FRONTEND_BACKEND_TOKEN": token}
    with three_services(tmp_path / "data", tokens) as stack:
        form = {
            "BACKEND": stack.services[1].health_url.removesuffix("/health/ready"),
            "FOLDER": str(ROOT),
            "FACE": str(ROOT / "samples/portrait.jpg"),
            "ENGINE": "facewarp",
        }
        notebook = notebooks.filled_in("quickstart.ipynb", form)
        notebooks.run(notebook, tmp_path, BACKEND_TOKEN=token)
    cells = notebooks.code_cells(notebook)
    assert "succeeded" in notebooks.text_of(cells[2])
    assert num_frames(notebooks.shown(cells[3])) > 25
    assert (tmp_path / "hello-notebook.mp4").is_file()


def test_stopping_the_cell_that_watches_lets_the_host_end_in_order(tmp_path: Path) -> None:
    with watching(tmp_path) as process:
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=notebooks.LONGEST_CELL_SECONDS)
    assert process.returncode == 0, said
    assert "Done: the GPU host has ended (exit status 0)." in said
    assert "Traceback" not in said


def test_a_kernel_that_is_killed_takes_the_host_along(tmp_path: Path) -> None:
    with watching(tmp_path) as process:
        process.kill()
        wait_until(lambda: not answers(process.url))


class Watching(subprocess.Popen[str]):
    """What the notebook's last cells do, in a Python of their own."""

    url = ""


def answers(url: str) -> bool:
    """Whether the host is there."""
    with suppress(OSError):
        requests.get(f"{url}/health", timeout=5).close()
        return True
    return False


@contextmanager
def watching(folder: Path) -> Iterator[Watching]:
    """A host that is served and watched, until the block ends."""
    script = f"""
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from notebooks import colab
host = colab.host({str(ROOT)!r})
host.read_secrets()
host.serve("none", "", 0)
print("url", host.url, flush=True)
host.watch()
"""
    process = Watching(
        [sys.executable, "-c", script],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"GPU_WEIGHTS_DIR": str(folder)},
    )
    with process:
        try:
            assert process.stdout
            said = ""
            for line in process.stdout:
                said += line
                if line.startswith("url "):
                    process.url = line.split()[1]
                if line.startswith("The host runs until"):
                    break
            assert process.url, said
            yield process
        finally:
            process.kill()
