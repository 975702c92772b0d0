"""The project's virtual environment: made from the locks once, and made again when they change."""

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from contracts.doctor import packages
from contracts.doctor.machine import ask
from tools.interpreter import USABLE, version_of
from tools.processes import lines_of

ROOT = Path(__file__).resolve().parent.parent
SETS = {"default": ("frontend", "backend", "gpu_service"), "dev": ("dev",)}
"""The locks of each set. The dev lock holds the default set too, at the same versions."""
OPTIONAL = ("gpu_service-openvino", "gpu_service-export")
"""Locks that a person installs by hand, on top of the default set. The dev lock holds them too."""
TORCH = "torch==2.13.0"
"""In no lock, since its builds differ by the machine's accelerator. Tests of networks need it."""

COMPARE_SECONDS = 20.0
"""How long the installed packages are compared with the locks; it takes less than one."""


class SetupFailed(Exception):
    """The environment could not be made; the message says why and what to do."""


class Environment:
    """A virtual environment with the packages of the locks.

    Args:
        root: The project's folder, which holds `requirements/` and gets `.venv/`.
    """

    def __init__(self, root: Path = ROOT) -> None:
        self.root = root
        self.folder = root / ".venv"
        self.python = self.folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        self._marker = self.folder / "lipsync-setup.json"

    def locks(self, name: str) -> list[Path]:
        """The lock files of a set."""
        return [self.root / "requirements" / f"{lock}.txt" for lock in SETS[name]]

    def ready(self, name: str) -> bool:
        """Whether the set is installed, whole, and as its locks say today."""
        return self._state().get(name) == self._fingerprint(name) and (
            version_of(str(self.python)) in USABLE
        )

    def ensure(self, name: str) -> float:
        """Install a set unless it is there.

        Returns:
            Seconds it took; 0.0 when there was nothing to do.

        Raises:
            SetupFailed: The environment could not be made.
        """
        if self.ready(name):
            return 0.0
        refuse_unsupported_platform()
        started = time.monotonic()
        with self._alone():
            if not self.ready(name):  # another process may have done it meanwhile
                self._make(name)
        return time.monotonic() - started

    def ensure_torch(self) -> None:
        """Install torch unless it is there; say so where it can't be had.

        Raises:
            SetupFailed: It can't be had, and continuous integration must not go on without it.
        """
        if self._state().get("torch") == TORCH:
            return
        with self._alone():
            state = {key: mark for key, mark in self._state().items() if key != "installing"}
            self._write(state | {"installing": "torch"})
            failure = self._install_torch()
            self._write(state if failure else state | {"torch": TORCH})
        if failure and os.environ.get("CI") == "true":
            raise SetupFailed(failure)
        if failure:
            say(f"set-up: {failure}\nset-up: going on; tests that need it are skipped")

    def _install_torch(self) -> str:
        """Why it could not be installed; empty when it was."""
        say(f"set-up: installing {TORCH}")
        lines: list[str] = []
        try:
            with lines_of([*self._pip_install(), "--retries=1", TORCH], cwd=self.root) as output:
                lines.extend(output)
        except subprocess.CalledProcessError:
            return f"{TORCH} could not be installed: {lines[-1] if lines else 'pip failed'}"
        return ""

    def _make(self, name: str) -> None:
        state = self._state()
        broken = "installing" in state or version_of(str(self.python)) not in USABLE
        if broken and self.folder.exists():
            say(f"set-up: {self.folder} is unfinished or broken; making it anew")
            shutil.rmtree(self.folder)
        new = not self.folder.exists()
        self.folder.mkdir(exist_ok=True)
        self._write({"installing": name})
        if new:
            say(f"set-up: making {self.folder} with Python {platform.python_version()}")
            self._create()
        self._install(name)
        kept = {} if broken else state
        # The dev lock holds the default set as well, at the same versions.
        installed = SETS if name == "dev" else (name,)
        self._write(kept | {each: self._fingerprint(each) for each in installed})

    def _create(self) -> None:
        # From within a virtual environment, make the new one from the Python beneath it.
        base = getattr(sys, "_base_executable", None) or sys.executable
        lines: list[str] = []
        try:
            with lines_of([base, "-m", "venv", str(self.folder)]) as output:
                lines.extend(output)
        except subprocess.CalledProcessError as error:
            version = "{}.{}".format(*sys.version_info[:2])
            raise SetupFailed(
                "this Python can't make virtual environments:\n  "
                + "\n  ".join(lines)
                + f"\nOn Debian and Ubuntu: sudo apt-get install python{version}-venv"
            ) from error

    def _install(self, name: str) -> None:
        total = len({pin.name for path in self.locks(name) for pin in packages.read_pins(path)})
        say(f"set-up: installing {total} packages from requirements/")
        # Compiling what is never used would take a third of the time.
        command = [*self._pip(name), "--no-compile"]
        progress = Progress(total)
        lines: list[str] = []
        try:
            with lines_of(command, cwd=self.root) as output:
                for line in output:
                    lines.append(line)
                    progress.heed(line)
        except subprocess.CalledProcessError as error:
            raise SetupFailed(
                "pip could not install the packages:\n  "
                + "\n  ".join(lines[-12:])
                + "\nCheck the network (or the index that pip is set to) and run this again; "
                + f"if that does not help, remove {self.folder} first."
            ) from error

    def _pip(self, name: str) -> list[str]:
        """The command that installs a set."""
        # mediapipe's own metadata asks for packages that it never imports, hence --no-deps.
        command = [*self._pip_install(), "--no-deps", "--require-hashes"]
        return command + [f"--requirement={path}" for path in self.locks(name)]

    def _pip_install(self) -> list[str]:
        options = ["--no-input", "--only-binary=:all:", "--disable-pip-version-check"]
        return [str(self.python), "-m", "pip", "install", *options]

    def differences(self, name: str) -> list[str]:
        """How the installed packages differ from the set's locks."""
        program = [str(self.python), "-I", packages.__file__, *map(str, self.locks(name))]
        answer = ask(program, COMPARE_SECONDS)
        if answer.status == 0:
            return answer.out.splitlines()
        return [f"they could not be compared: {answer.last_words}"]

    def _fingerprint(self, name: str) -> str:
        digest = hashlib.sha256()
        for path in self.locks(name):
            # Line ends may differ between checkouts of the same lock.
            digest.update(path.read_text(encoding="utf-8").encode())
        return digest.hexdigest()

    def _state(self) -> dict[str, str]:
        try:
            state = json.loads(self._marker.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return state if isinstance(state, dict) else {}

    def _write(self, state: dict[str, str]) -> None:
        self._marker.write_text(json.dumps(state, indent=1) + "\n", encoding="utf-8")

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Let one process at a time set up."""
        path = self.root / ".data" / "setup.lock"
        path.parent.mkdir(exist_ok=True)
        with path.open("w") as file:
            if sys.platform == "win32":
                import msvcrt

                msvcrt.locking(file.fileno(), msvcrt.LK_LOCK, 1)
            else:
                import fcntl

                fcntl.flock(file, fcntl.LOCK_EX)
            yield


class Progress:
    """Tells every few seconds how far pip has come.

    Args:
        total: How many packages the locks name; some are for other systems.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._seen = 0
        self._said = time.monotonic()

    def heed(self, line: str) -> None:
        """Take the next line that pip printed."""
        if line.startswith(("Collecting ", "Requirement already satisfied")):
            self._seen += 1
        if line.startswith("Collecting ") and time.monotonic() - self._said > 2:
            self._said = time.monotonic()
            package = line.split()[1].split("==")[0]
            say(f"set-up: fetched {self._seen - 1} of {self._total}; next {package}")
        if line.startswith("Installing collected"):
            say("set-up: unpacking")


def refuse_unsupported_platform() -> None:
    """Say early what pip would say late and badly.

    Raises:
        SetupFailed: No MediaPipe wheel exists for this platform.
    """
    machine = platform.machine().lower()
    if sys.platform.startswith("linux") and machine not in ("x86_64", "amd64"):
        raise SetupFailed(
            f"MediaPipe 0.10.21 has no package for Linux on {machine}. Use Linux on x86-64, macOS "
            "or Windows, or run an x86-64 container."
        )
    if sys.maxsize <= 2**32:
        raise SetupFailed("this is a 32-bit Python; install a 64-bit one.")


def say(line: str) -> None:
    """Tell the person at once, also when the output is piped."""
    print(line, flush=True)
