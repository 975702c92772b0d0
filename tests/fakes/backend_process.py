"""The backend as a process of its own."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class BackendProcess:
    """A running one.

    Args:
        settings: What it gets in its environment, without the prefix.
    """

    def __init__(self, settings: dict[str, object]) -> None:
        self.said: list[str] = []
        """Its log."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "backend", "serve"],
            env=os.environ | {f"BACKEND_{name}".upper(): str(settings[name]) for name in settings},
            stderr=subprocess.PIPE,
            text=True,
        )
        self.url = self._listen()
        # Read on, else the process would wait for room in the pipe.
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _listen(self) -> str:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self.said.append(line)
            if found := re.search(r"running on (http://\S+)", line):
                return found[1]
        raise AssertionError("".join(self.said))

    def _read(self) -> None:
        assert self._process.stderr is not None
        self.said.extend(self._process.stderr)

    def stop(self) -> int:
        """Ask it to end, and give its exit status."""
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(30)

    def kill(self) -> None:
        """End it as a power cut would."""
        self._process.kill()
        self._process.wait()
        self._reader.join()
        assert self._process.stderr is not None
        self._process.stderr.close()


@contextmanager
def backend_process(data_dir: Path, gpu_url: str, **settings: object) -> Iterator[BackendProcess]:
    """The real backend on a free loopback port."""
    process = BackendProcess({"port": 0, "data_dir": data_dir, "gpu_url": gpu_url, **settings})
    try:
        yield process
    finally:
        process.kill()
