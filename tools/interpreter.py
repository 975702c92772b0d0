"""Find a Python that the project can run on; written for Python 3.6 and later."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Iterator, List, Optional, Tuple

USABLE = ((3, 12), (3, 11))
MISSING = """\
LipSync Studio needs Python 3.11 or 3.12; this is {version}, and no other was found.
Install one of them and run the same command again:
  Debian, Ubuntu   sudo apt-get install python3.12-venv || sudo apt-get install python3.11-venv
  macOS            brew install python@3.12
  Windows          winget install Python.Python.3.12
  anywhere         install uv (https://docs.astral.sh/uv/); it is then used to get Python 3.12"""


def ensure_usable_python(arguments: List[str]) -> None:
    """Return if this Python is usable, else start a usable one with the same arguments.

    Args:
        arguments: The script and its arguments.
    """
    if sys.version_info[:2] in USABLE:
        return
    python = find_python() or python_from_uv()
    if python is None:
        sys.exit(MISSING.format(version=sys.version.split()[0]))
    print(f"Python {sys.version.split()[0]} can't run this; using {python}", file=sys.stderr)
    if os.name == "nt":  # there, exec returns to the shell while the new process still runs
        sys.exit(subprocess.call([python, *arguments]))
    os.execv(python, [python, *arguments])


def find_python() -> Optional[str]:
    """The path of a usable Python on this machine, or None."""
    return next((path for path in candidates() if version_of(path) in USABLE), None)


def candidates() -> Iterator[str]:
    """Where a usable Python may be, the likeliest first."""
    names = ["python{}.{}".format(*version) for version in USABLE] + ["python3", "python"]
    for name in names:
        for folder in os.environ.get("PATH", "").split(os.pathsep):
            path = shutil.which(name, path=folder)
            if path:
                yield path
    # pyenv's shims fail for versions that are installed but not active.
    root = Path(os.environ.get("PYENV_ROOT", str(Path.home() / ".pyenv")))
    for version in USABLE:
        pattern = "{}.{}*/bin/python".format(*version)
        for installed in sorted((root / "versions").glob(pattern), reverse=True):
            yield str(installed)
    launcher = shutil.which("py") if os.name == "nt" else None
    for version in USABLE if launcher else ():
        tag = "-{}.{}".format(*version)
        found = output_of([str(launcher), tag, "-c", "import sys; print(sys.executable)"])
        if found:
            yield found


def version_of(python: str) -> Optional[Tuple[int, int]]:
    """(major, minor) of an interpreter, or None where it does not run."""
    answer = output_of([python, "-c", "import sys; print(*sys.version_info[:2])"])
    if not answer:
        return None
    major, minor = answer.split()
    return int(major), int(minor)


def python_from_uv() -> Optional[str]:
    """A Python 3.12 that uv has or fetches, or None where uv is missing or fails."""
    uv = shutil.which("uv")
    if uv is None:
        return None
    if not output_of([uv, "python", "find", "3.12"]):
        print("no Python 3.11 or 3.12 here; uv fetches 3.12", file=sys.stderr)
        subprocess.call([uv, "python", "install", "3.12"])
    return output_of([uv, "python", "find", "3.12"]) or None


def output_of(command: List[str]) -> str:
    """What a command prints, stripped; empty where it can't be run or fails."""
    try:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=30
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode(errors="replace").strip() if done.returncode == 0 else ""
