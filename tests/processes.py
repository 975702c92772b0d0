"""One service as a process that is killed and started again at the same address."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from tools.environment import ROOT

LONGEST_WAIT_SECONDS = 240


class Service:
    """A service of ours as a process; nothing that a developer has configured reaches it.

    Args:
        module: Its package.
        port: Where it listens, on loopback.
        folder: Takes its log and its data.
        settings: What it gets in its environment, without its prefix.
    """

    def __init__(
        self, module: str, port: int, folder: Path, settings: Mapping[str, object]
    ) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._command = [sys.executable, "-m", module, "serve"]
        own = {"HOST": "127.0.0.1", "PORT": port, "DATA_DIR": folder, **settings}
        prefix = {"gpu_service": "GPU", "backend": "BACKEND"}[module]
        self._environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("GPU_", "BACKEND_"))
        } | {f"{prefix}_{name}": str(value) for name, value in own.items()}
        self._log_file = folder / f"{module}.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns once it listens."""
        with self._log_file.open("ab") as log:
            begin = log.tell()
            self._process = process = subprocess.Popen(
                self._command, cwd=ROOT, env=self._environment, stderr=log
            )
        wait_until(lambda: "running on http" in self.log()[begin:] or process.poll() is not None)
        assert process.poll() is None, self.log()[begin:]

    def kill(self) -> None:
        """End it as a power cut would."""
        if self._process:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()

    def log(self) -> str:
        """What it has said, in all its lives; one character a byte."""
        return self._log_file.read_text(encoding="latin-1")


def wait_until(condition: Callable[[], object]) -> None:
    """Look again and again."""
    pause, deadline = threading.Event(), time.monotonic() + LONGEST_WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it took too long"
        pause.wait(0.01)
