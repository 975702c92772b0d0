import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tools import container
from tools.container import with_tokens
from tools.environment import ROOT


def test_the_backends_token_is_made_once_and_kept_for_its_owner(tmp_path: Path) -> None:
    data = {"BACKEND_DATA_DIR": str(tmp_path / "data")}
    first, second = with_tokens(data), with_tokens(data)
    assert len(first["BACKEND_TOKEN"]) >= 32
    assert first["BACKEND_TOKEN"] == second["BACKEND_TOKEN"]
    (kept,) = (tmp_path / "data").iterdir()
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600


def test_a_token_that_is_set_is_not_written(tmp_path: Path) -> None:
    made = with_tokens({"BACKEND_TOKEN": "mine", "BACKEND_DATA_DIR": str(tmp_path)})
    assert made["BACKEND_TOKEN"] == "mine"
    assert list(tmp_path.iterdir()) == []


def test_a_token_in_a_file_is_left_to_the_backend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(container, "SECRETS", tmp_path)
    (tmp_path / "backend_token").write_text("from a file")
    assert "BACKEND_TOKEN" not in with_tokens({"BACKEND_DATA_DIR": str(tmp_path / "data")})


def test_the_backend_finds_the_gpu_host_beside_it_with_a_fresh_token(tmp_path: Path) -> None:
    own = {"BACKEND_TOKEN": "mine", "GPU_PORT": "9123"}
    first, second = with_tokens(own), with_tokens(own)
    assert first["BACKEND_GPU_URL"] == "http://127.0.0.1:9123"
    assert first["BACKEND_GPU_TOKEN"] == first["GPU_TOKEN"] != second["GPU_TOKEN"]


def test_a_gpu_host_elsewhere_gets_no_token_of_the_one_beside() -> None:
    elsewhere = {"BACKEND_TOKEN": "mine", "BACKEND_GPU_URL": "https://gpu.example"}
    made = with_tokens(elsewhere)
    assert made["BACKEND_GPU_URL"] == "https://gpu.example"
    assert "BACKEND_GPU_TOKEN" not in made


def test_data_that_cant_be_kept_end_the_container_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data").touch()
    monkeypatch.setenv("BACKEND_DATA_DIR", str(tmp_path / "data" / "backend"))
    monkeypatch.delenv("BACKEND_TOKEN", raising=False)
    monkeypatch.setattr(container, "supervise", lambda *_: pytest.fail("started"))
    assert container.main() == 1
    said = capsys.readouterr().err
    assert said.startswith(str(tmp_path / "data"))
    assert f"user {os.getuid()} must be able to write there" in said


WAITS = "import signal; signal.signal(signal.SIGTERM, lambda *_: exit(0)); signal.pause()"
ENDS = "exit(7)"


@contextmanager
def supervised(first: str, second: str) -> Iterator[tuple[subprocess.Popen[str], socket.socket]]:
    """Two programs under the supervisor; the socket's other end closes when the last has gone."""
    ours, theirs = socket.socketpair()
    keep = f"import os, time; os.write({theirs.fileno()}, b'.');"
    commands = {
        name: [sys.executable, "-c", keep + code] for name, code in (("a", first), ("b", second))
    }
    script = f"""
import os, sys
from tools import container
# What is started has the descriptor too, and so holds the socket open.
container.processes.start = __import__("functools").partial(
    container.processes.start, pass_fds=[{theirs.fileno()}]
)
sys.exit(container.supervise({commands!r}, dict(os.environ)))
"""
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        pass_fds=[theirs.fileno()],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    theirs.close()
    with process, ours:
        ours.settimeout(120)
        try:
            yield process, ours
        finally:
            process.kill()


def read(from_them: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count and (more := from_them.recv(count)):
        data += more
    return data


def test_a_service_that_ends_ends_the_container_and_the_other_service() -> None:
    with supervised(WAITS, ENDS) as (process, from_them):
        said, _ = process.communicate(timeout=120)
        assert process.returncode == 7
        assert "the b ended (exit status 7), and so does the container" in said
        assert read(from_them, 3) == b"..", "something still runs"


def test_a_service_that_ends_well_unasked_is_a_fault_too() -> None:
    with supervised("exit(0)", WAITS) as (process, _):
        process.communicate(timeout=120)
        assert process.returncode == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_container_that_is_stopped_ends_both_services_and_well(number: signal.Signals) -> None:
    with supervised(WAITS, WAITS) as (process, from_them):
        assert read(from_them, 2) == b".."
        process.send_signal(number)
        process.communicate(timeout=120)
        assert process.returncode == 0
        assert from_them.recv(1) == b"", "something still runs"
