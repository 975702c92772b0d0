"""One service as a process that is stopped or killed, and started again at the same address."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Self

from tools.environment import ROOT

LONGEST_WAIT_SECONDS = 240


class Service:
    """A service of ours as a process; nothing that a developer has configured reaches it.

    Args:
        module: Its package.
        folder: Takes its log and its data.
        settings: What it gets in its environment, without its prefix.
        port: Where it listens, on loopback; 0 takes a free one, and keeps it.
        python: What runs it; whoever runs the tests when None.
        source: The folder that holds its package.
    """

    def __init__(
        self,
        module: str,
        folder: Path,
        settings: Mapping[str, object],
        port: int = 0,
        python: Path | None = None,
        source: Path = ROOT,
    ) -> None:
        self.url = f"http://127.0.0.1:{port}"
        """Where it answers; known from the start where a port was given."""
        self._command = [str(python or sys.executable), "-m", module, "serve"]
        self._source = source
        self._folder = folder
        self._settings = {"HOST": "127.0.0.1", "PORT": port, "DATA_DIR": folder, **settings}
        self._prefix = {"gpu_service": "GPU_", "backend": "BACKEND_"}[module]
        self._log_file = folder / f"{module}.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns once it listens."""
        with self._log_file.open("ab") as log:
            begin = log.tell()
            # Not where a developer's .env lies.
            self._process = process = subprocess.Popen(
                self._command,
                cwd=self._folder,
                env=self._environment(),
                stdout=subprocess.DEVNULL,  # what it tells a person who starts it
                stderr=log,
            )
        listens = re.compile(r"running on (http://[\d.]+:(\d+)) ")
        wait_until(lambda: listens.search(self.log(), begin) or process.poll() is not None)
        found = listens.search(self.log(), begin)
        assert found, self.log()[begin:]
        self.url, self._settings["PORT"] = found[1], found[2]

    def _environment(self) -> dict[str, str]:
        others = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("GPU_", "BACKEND_"))
        }
        own = {self._prefix + name: str(value) for name, value in self._settings.items()}
        return others | own | {"PYTHONPATH": str(self._source)}

    def stop(self) -> int:
        """Ask it to end, and give its exit status."""
        return self._end(signal.SIGTERM)

    def kill(self) -> int:
        """End it as a power cut would."""
        return self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> int:
        assert self._process
        self._process.send_signal(how)
        return self._process.wait(LONGEST_WAIT_SECONDS)

    def log(self) -> str:
        """What it has said, in all its lives; one character a byte."""
        return self._log_file.read_text(encoding="latin-1")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


def is_running(pid: int) -> bool:
    """Whether the process has not ended; one that nobody has waited for has."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def wait_while_wanted(ended: threading.Event) -> None:
    """Wait for the event, or, so that a failed test leaves nothing, for the parent's death."""
    parent = os.getppid()
    while os.getppid() == parent and not ended.wait(0.5):
        pass


def wait_until(condition: Callable[[], object]) -> None:
    """Look again and again."""
    pause, deadline = threading.Event(), time.monotonic() + LONGEST_WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it took too long"
        pause.wait(0.01)
