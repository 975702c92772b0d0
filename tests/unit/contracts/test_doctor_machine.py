import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from contracts.doctor.findings import Finding, from_json
from contracts.doctor.machine import (
    Door,
    ask,
    ask_python,
    free_memory,
    guessable,
    look_at_disk,
    look_at_folder,
    look_at_memory,
    look_at_port,
    look_at_python,
    port_is_free,
    this_python,
    token_line,
    where_set,
)
from tests.fakes.scripted_server import answer, scripted
from tools.environment import ROOT
from tools.services import read_dotenv


def door(port: int) -> Door:
    return Door("backend", "BACKEND_PORT", port, "/health/live")


@pytest.fixture
def taken() -> Iterator[int]:
    """A port on which another program listens, and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield other.getsockname()[1]


def test_a_port_in_use_is_a_fault_with_the_line_that_takes_another(taken: int) -> None:
    assert not port_is_free(taken)
    found = look_at_port(door(taken))
    assert found.state == "fault"
    assert f"{taken}, meant for the backend" in found.what
    assert f"BACKEND_PORT={taken + 1}" in found.fix
    assert look_at_port(door(taken), "run it elsewhere").fix == "run it elsewhere"


def test_a_port_that_nobody_uses_is_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
    assert look_at_port(door(port)).state == "ok"
    assert look_at_port(door(0)).state == "ok"


def test_a_service_of_ours_that_runs_already_is_no_fault() -> None:
    health = answer('{"status": "ok"}', Content_Type="application/json")
    # The first connection only looks whether somebody listens.
    with scripted(health, health) as server:
        found = look_at_port(door(int(server.url.rpartition(":")[2])))
    assert found.state == "ok"
    assert "a backend of ours runs there" in found.what


@pytest.mark.parametrize("body", ["<html>Welcome</html>", '["status"]', '{"hello": 1}'])
def test_another_web_server_is_none_of_ours(body: str) -> None:
    with scripted(answer(body), answer(body)) as server:
        assert look_at_port(door(int(server.url.rpartition(":")[2]))).state == "fault"


class Usage(NamedTuple):
    free: int


def test_a_full_disk_is_told_with_what_is_needed(tmp_path: Path) -> None:
    asked: list[Path] = []

    def usage(folder: Path) -> Usage:
        asked.append(folder)
        return Usage(10**9)

    folder = tmp_path / "not" / "there" / "yet"
    assert look_at_disk(folder, 0.9, usage).state == "ok"
    found = look_at_disk(folder, 2, usage)
    assert found.state == "fault"
    assert "only 1.0 GB are free" in found.what
    assert str(folder) in found.what
    assert found.fix.startswith(f"df -h {tmp_path} "), "df fails for a folder that is not there"
    assert set(asked) == {tmp_path}, "the disk is that of the nearest folder that is there"


def test_a_folder_that_can_be_used_is_left_as_it_was(tmp_path: Path) -> None:
    assert look_at_folder("data", tmp_path / "new", "BACKEND_DATA_DIR").state == "ok"
    assert look_at_folder("data", tmp_path, "BACKEND_DATA_DIR").state == "ok"
    assert list(tmp_path.iterdir()) == []


def test_a_folder_below_a_file_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "data"):
        found = look_at_folder("data", folder, "BACKEND_DATA_DIR")
        assert found.state == "fault"
        assert str(folder) in found.what
        assert found.fix.startswith("BACKEND_DATA_DIR=…")


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="no folder is barred to all")
def test_a_folder_in_which_nothing_may_be_made_is_a_fault() -> None:
    assert look_at_folder("data", Path("/proc/data"), "BACKEND_DATA_DIR").state == "fault"


def as_nobody(call: str, folder: Path) -> list[Finding]:
    """What somebody finds who is not let into a folder; root is let in everywhere."""
    program = (
        f"import os, sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from pathlib import Path\n"
        "from contracts.doctor.findings import as_json\n"
        "from contracts.doctor.machine import look_at_disk, look_at_folder\n"
        "os.geteuid() or os.seteuid(65534)\n"
        f"folder = Path(sys.argv[1])\nprint(as_json([{call}]))"
    )
    command = [sys.executable, "-c", program, str(folder)]
    return from_json(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.fixture
def closed(tmp_path: Path) -> Iterator[Path]:
    """A folder that nobody is let into."""
    folder = tmp_path / "my closed"
    folder.mkdir()
    folder.chmod(0)
    yield folder
    folder.chmod(0o700)


@pytest.mark.skipif(os.name == "nt", reason="folders are not closed so there")
def test_a_folder_in_a_closed_one_is_a_fault_and_what_is_above_it_is_left_to_its_owner(
    closed: Path,
) -> None:
    folder = closed / "new" / "data"
    (found,) = as_nobody('look_at_folder("data", folder, "BACKEND_DATA_DIR")', folder)
    assert found.state == "fault"
    assert "Permission denied" in found.what
    assert found.fix.startswith(f"sudo mkdir -p '{folder}' && sudo chown -R \"$USER\" '{folder}' ")
    assert "BACKEND_DATA_DIR=…" in found.fix
    (disk,) = as_nobody("look_at_disk(folder, 0)", folder)
    assert disk.state == "ok", "its disk is that of what can be seen"


def system(root: Path, available_kb: int, limit: str = "", used: int = 0) -> Path:
    (root / "proc").mkdir()
    text = f"MemTotal: 99999 kB\nMemAvailable:    {available_kb} kB\n"
    (root / "proc/meminfo").write_text(text)
    if limit:
        (root / "sys/fs/cgroup").mkdir(parents=True)
        (root / "sys/fs/cgroup/memory.max").write_text(limit + "\n")
        (root / "sys/fs/cgroup/memory.current").write_text(f"{used}\n")
    return root


def test_little_memory_is_a_fault(tmp_path: Path) -> None:
    root = system(tmp_path, 500_000)
    (found,) = look_at_memory(1.5, root)
    assert found.state == "fault"
    assert "only 0.5 GB" in found.what
    assert look_at_memory(0.5, root)[0].state == "ok"


@pytest.mark.parametrize(("limit", "free"), [("max", 2_048_000_000), ("1500000000", 500_000_000)])
def test_in_a_container_its_limit_counts(tmp_path: Path, limit: str, free: int) -> None:
    assert free_memory(system(tmp_path, 2_000_000, limit, 1_000_000_000)) == free


def test_what_a_container_has_read_of_files_does_not_count_as_taken(tmp_path: Path) -> None:
    root = system(tmp_path, 2_000_000, "1500000000", 1_400_000_000)
    stat = root / "sys/fs/cgroup/memory.stat"
    stat.write_text("anon 300000000\nfile 1100000000\ninactive_file 900000000\n")
    assert free_memory(root) == 1_000_000_000


def test_where_the_system_does_not_tell_nothing_is_said(tmp_path: Path) -> None:
    assert look_at_memory(1.5, tmp_path) == []


def test_a_program_is_asked_and_its_last_words_are_kept() -> None:
    program = "import sys; print('hello'); print('a\\nthe cause', file=sys.stderr); sys.exit(3)"
    found = ask_python(["-c", program], 60)
    assert (found.status, found.out, found.last_words) == (3, "hello\n", "the cause")
    assert ask_python(["-c", "import sys; sys.exit(4)"], 60).last_words == "exit status 4"


def test_a_program_that_hangs_is_given_up_and_so_is_what_it_started() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        waits = f"import socket; socket.create_connection(('127.0.0.1', {port})).recv(1)"
        program = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {waits!r}])"
        # Were its output a pipe, the grandchild would hold it open until the listener is gone.
        found = ask([sys.executable, "-c", program], 2.0)
    assert found.status is None


def test_the_environments_wish_to_compile_nothing_is_not_heeded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    program = "import sys; print(sys.dont_write_bytecode)"
    assert ask_python(["-c", program], 60).out.strip() == "False"


def test_this_python_is_usable_and_named_as_a_person_would(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert look_at_python().state == "ok"
    monkeypatch.setattr(sys, "version_info", (3, 13, 0))
    assert look_at_python().state == "fault"
    monkeypatch.chdir(tmp_path)
    assert this_python() == sys.executable
    monkeypatch.setattr(sys, "executable", str(tmp_path / ".venv" / "python"))
    assert this_python() == str(Path(".venv/python"))
    monkeypatch.setattr(sys, "executable", "/my projects/.venv/python")
    assert this_python() in ("'/my projects/.venv/python'", '"/my projects/.venv/python"')


@pytest.mark.parametrize(
    ("token", "bad"),
    [("secret", True), ("a" * 40, True), ("0123456", True), ("Fs7-nobody-guesses-it-9qX", False)],
)
def test_short_and_uniform_tokens_can_be_guessed(token: str, bad: bool) -> None:
    assert guessable(token) == bad


def test_where_a_setting_comes_from_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GPU_TOKEN", "x")
    monkeypatch.delenv("BACKEND_TOKEN", raising=False)
    assert where_set("GPU_TOKEN") == "the environment"
    assert where_set("BACKEND_TOKEN") == ".env"
    monkeypatch.setattr("contracts.secret_files.SECRETS_DIR", tmp_path)
    (tmp_path / "backend_token").touch()
    assert where_set("BACKEND_TOKEN") == str(tmp_path / "backend_token")


@pytest.mark.skipif(os.name == "nt", reason="the line is tried in a shell")
def test_the_line_that_makes_a_token_sets_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GPU_TOKEN", raising=False)
    monkeypatch.chdir(tmp_path)
    Path(".env").write_text("GPU_PORT=9001")  # whose line has no end
    subprocess.run(["/bin/sh", "-c", token_line("GPU_TOKEN")], check=True)
    told = read_dotenv(Path(".env"))
    assert told["GPU_PORT"] == "9001"
    assert not guessable(told["GPU_TOKEN"])
    monkeypatch.setenv("GPU_TOKEN", "secret")  # wins over the file
    show = f"{token_line('GPU_TOKEN')}; printenv GPU_TOKEN"
    done = subprocess.run(["/bin/sh", "-c", show], check=True, capture_output=True, text=True)
    assert not guessable(done.stdout.strip())
