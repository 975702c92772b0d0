"""A command that goes on while other cells run, and whose output is shown."""

import os
import re
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from typing import Any

from tools import processes

LOOK_SECONDS = 0.1
"""How often its output is looked at."""


class Background:
    """A command beside the notebook's cells; what it says is printed as it comes.

    Its output goes through a file without a name. Unlike a pipe, that never breaks under it: where
    the kernel dies first, the command still ends in order. And nothing of it stays on the disk.

    Args:
        command: The command and its arguments.
        **options: As for `subprocess.Popen`.
    """

    def __init__(self, command: Sequence[str], **options: Any) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - open for as long as it is read
        self._process = processes.start(command, output=self._file, **options)
        self._lines: list[str] = []
        self._over = False
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._follow, daemon=True)
        self._reader.start()

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    @property
    def output(self) -> str:
        """What it has said so far."""
        with self._news:
            return "\n".join(self._lines)

    def wait_for(self, pattern: str) -> re.Match[str] | None:
        """The first place of its output that matches; None where it ends without one."""
        with self._news:
            while True:
                found = re.search(pattern, "\n".join(self._lines))
                if found or self._over:
                    return found
                self._news.wait()

    def wait(self) -> int:
        """Return when it has ended and all its output is shown.

        Returns:
            Its exit status.
        """
        while self._reader.is_alive():  # in pieces, so that stopping the cell gets through
            self._reader.join(1)
        return self._process.wait()

    def stop(self, seconds: float) -> int:
        """Ask it to end, and end it if it has not done so in time.

        Returns:
            Its exit status.
        """
        processes.ask_to_end(self._process)
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            processes.kill(self._process)
        return self.wait()

    def _follow(self) -> None:
        position, rest = 0, b""
        while True:
            ended = not self.running  # asked before the last look, so that nothing is missed
            # The command shares the file's position, so that reading must leave it alone.
            data = os.pread(self._file.fileno(), 1 << 16, position)
            position += len(data)
            *lines, rest = (rest + data).split(b"\n")
            self._tell(lines + [rest] * bool(rest and ended and not data))
            if ended and not data:
                break
            if not data:
                time.sleep(LOOK_SECONDS)
        self._file.close()
        with self._news:
            self._over = True
            self._news.notify_all()

    def _tell(self, lines: list[bytes]) -> None:
        said = [line.decode(errors="replace").rstrip() for line in lines]
        for line in said:
            print(line, flush=True)
        with self._news:
            self._lines += said
            self._news.notify_all()
