"""What every service needs of the machine that it is on: looked at without its packages."""

import contextlib
import errno
import json
import os
import platform
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from contracts import secret_files
from contracts.doctor.findings import Finding, fault, well

USABLE_PYTHONS: Final = ((3, 11), (3, 12))
_ROOT: Final = Path(__file__).resolve().parents[2]
_DIRECT: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""A proxy in the environment is not for the way to this machine."""


class Answer(NamedTuple):
    """What a program said."""

    status: int | None
    """Its exit status; None where it had not ended in time."""
    out: str
    err: str

    @property
    def last_words(self) -> str:
        """The last line that it wrote, most often why it failed."""
        lines = (self.err.strip() or self.out.strip()).splitlines()
        return lines[-1].strip() if lines else f"exit status {self.status}"


def ask(command: Sequence[str], seconds: float, **options: Any) -> Answer:
    """Run a program, for so long at most.

    Raises:
        OSError: It can't be started.
    """
    # Files: what it starts itself would keep pipes open after it was killed.
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = subprocess.Popen(  # noqa: S603  # programs that we name
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, **options
        )
        status: int | None = None
        try:
            status = process.wait(seconds)
        except subprocess.TimeoutExpired:
            pass
        finally:
            if process.poll() is None:
                process.kill()
                with contextlib.suppress(subprocess.TimeoutExpired):  # stuck in a driver
                    process.wait(1)
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode(errors="replace"))
    return Answer(status, *texts)


def ask_python(
    arguments: Sequence[str], seconds: float, python: str = sys.executable, **options: Any
) -> Answer:
    """Run a Python so: what an import breaks, hangs or crashes, it does in a process apart.

    Raises:
        OSError: It can't be started.
    """
    # It imports our code from where this module is, wherever it is started.
    paths = filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")])
    environment = os.environ | {"PYTHONUTF8": "1", "PYTHONPATH": os.pathsep.join(paths)}
    # Set-up leaves compiling to the first start; without its result each start takes 10 s.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    return ask([python, *arguments], seconds, env=environment, **options)


def this_python() -> str:
    """How a person in this folder starts the Python that runs here."""
    path = Path(sys.executable)
    here = Path.cwd()
    return quoted(path.relative_to(here) if path.is_relative_to(here) else path)


def quoted(path: Path | str) -> str:
    """A path as it is written in a line to copy: a space would make two of it."""
    return subprocess.list2cmdline([str(path)]) if os.name == "nt" else shlex.quote(str(path))


def look_at_python() -> Finding:
    """Whether this Python can run the services."""
    what = f"{platform.python_version()} ({sys.executable})"
    if sys.version_info[:2] in USABLE_PYTHONS:
        return well("python", what)
    return fault(
        "python",
        what,
        "The face mesh has packages for Python 3.11 and 3.12 alone.",
        "uv venv --python 3.12 --seed .venv",
    )


class Door(NamedTuple):
    """Where one of the services listens."""

    service: str
    """What people call it."""
    setting: str
    """What names its port."""
    port: int
    path: str
    """What it answers without a token."""


def look_at_port(door: Door, fix: str = "") -> Finding:
    """Whether a service can listen, or does so already.

    Args:
        door: Its port; 0 is always free.
        fix: The line that has it listen elsewhere, where it is not the setting.
    """
    service, setting, port, path = door
    if port == 0:
        return well("ports", f"the {service} takes a free one")
    if port_is_free(port):
        return well("ports", f"{port} is free for the {service}")
    if _answers(f"http://127.0.0.1:{port}{path}"):
        return well("ports", f"{port}: a {service} of ours runs there")
    return fault(
        "ports",
        f"{port}, meant for the {service}, is in use by another program",
        f"The {service} can't start there.",
        fix or f"{setting}={port + 1}   # in {where_set(setting)}, or stop the other program",
    )


def _answers(url: str) -> bool:
    try:
        with _DIRECT.open(url, timeout=2) as answer:
            found = json.loads(answer.read(100_000))
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and "status" in found


def port_is_free(port: int) -> bool:
    """Whether a service can listen on the port, and nothing else answers there as localhost."""
    try:
        # A program that listens on all addresses does not keep ours from listening everywhere.
        socket.create_connection(("localhost", port), timeout=1).close()
    except OSError:
        pass
    else:
        return False
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def look_at_disk(
    folder: Path, needed_gb: float, usage: Callable[[Path], Any] = shutil.disk_usage
) -> Finding:
    """Whether the disk of a folder, which may not be there yet, has room.

    Args:
        folder: Where something is to be written.
        needed_gb: Room that it takes, in 10^9 bytes.
        usage: Tells total, used and free bytes of a folder's disk.
    """
    place = _existing(folder)
    free = usage(place).free / 1e9
    if free >= needed_gb:
        return well("disk", f"{free:.1f} GB are free for {folder}")
    return fault(
        "disk",
        f"only {free:.1f} GB are free for {folder}; it takes {needed_gb:g} GB",
        "Uploads are refused and no job begins while the disk is full; set-up fails.",
        f"df -h {quoted(place)}   # then make room there, or move the folder to another disk",
    )


def look_at_folder(topic: str, folder: Path, setting: str) -> Finding:
    """Whether files can be written to a folder and read again, made anew if need be.

    Args:
        topic: Of the finding.
        folder: The folder; it is not made here.
        setting: What names it.
    """
    place = _existing(folder)
    try:
        if not place.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(place))
        with tempfile.TemporaryFile(dir=place):
            pass
        list(folder.iterdir() if folder.is_dir() else ())
    except OSError as error:
        other = f"{setting}=…   # in {where_set(setting)}: a folder that can be made"
        # Never what is above it, which may be the whole disk.
        name = quoted(folder.absolute())
        owner = f'sudo mkdir -p {name} && sudo chown -R "$USER" {name}   # or {other}'
        return fault(
            topic,
            f"{folder} can't be used: {error.strerror or error}",
            f"{setting} names it; what is kept there could be neither read nor written.",
            owner if isinstance(error, PermissionError) else other,
        )
    return well(topic, f"{folder} can be read and written")


def _existing(folder: Path) -> Path:
    """The folder itself, or the nearest above it that is there."""
    folder = folder.absolute()
    return next(each for each in (folder, *folder.parents) if is_there(each))


def is_there(path: Path) -> bool:
    """Whether something is there that may be looked at."""
    try:
        return path.exists()
    except OSError:  # a folder above it is closed to us
        return False


def look_at_memory(needed_gb: float, root: Path = Path("/")) -> list[Finding]:
    """Whether enough memory is free; nothing where the system does not tell.

    Args:
        needed_gb: What the services take, in 10^9 bytes.
        root: Where the system tells it.
    """
    free = free_memory(root)
    if free is None:
        return []
    if free / 1e9 >= needed_gb:
        return [well("memory", f"{free / 1e9:.1f} GB are free")]
    return [
        fault(
            "memory",
            f"only {free / 1e9:.1f} GB are free; {needed_gb:g} GB are needed",
            "The system ends a service that takes more than there is, in the middle of a video.",
            "ps aux --sort=-rss | head   # then stop what is not needed",
        )
    ]


def free_memory(root: Path = Path("/")) -> int | None:
    """Bytes that a program can still take, in a container those of its own limit."""
    try:
        lines = (root / "proc/meminfo").read_text(encoding="utf-8").splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvail"))
    except (OSError, StopIteration, ValueError):
        return None
    try:
        group = root / "sys/fs/cgroup"
        limit = int((group / "memory.max").read_text(encoding="utf-8"))
        used = int((group / "memory.current").read_text(encoding="utf-8"))
    except (OSError, ValueError):  # no container, or one without a limit
        return free
    with contextlib.suppress(OSError, StopIteration, ValueError):
        # What was read of files counts as used, and is let go of when a program needs the room.
        lines = (group / "memory.stat").read_text(encoding="utf-8").splitlines()
        used -= next(int(line.split()[1]) for line in lines if line.startswith("inactive_file "))
    return max(0, min(free, limit - used))


def guessable(token: str) -> bool:
    """Whether a token could be found by trying."""
    return len(token) < 16 or len(set(token)) < 8


def token_line(setting: str) -> str:
    """The line that makes a token and sets it where it is set now."""
    made = "secrets.token_urlsafe(24)"
    if setting in os.environ:  # which wins over .env
        return f'export {setting}=$({this_python()} -c "import secrets; print({made})")'
    # On a line of its own, also where the last one of the file has no end.
    write = f"print('\\n{setting}=' + {made}, file=open('.env', 'a'))"
    return f'{this_python()} -c "import secrets; {write}"'


def where_set(name: str) -> str:
    """Where a setting comes from, for people."""
    if name in os.environ:
        return "the environment"
    file = secret_files.SECRETS_DIR / name.lower()
    return str(file) if is_there(file) else ".env"
