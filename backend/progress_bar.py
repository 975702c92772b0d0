"""How a job gets on, for a person who waits at a terminal or reads a log."""

import shutil
import sys
from typing import Final, TextIO

from contracts.jobs import JobStage

WIDTH: Final = 24
_STAGES = {
    JobStage.WAITING: "Waiting for its turn",
    JobStage.SPEAKING: "Speaking the text",
    JobStage.UPLOADING: "Sending the files",
    JobStage.PREPARING: "Finding the face",
    JobStage.RENDERING: "Moving the mouth",
    JobStage.FINISHING: "Finishing the video",
    JobStage.DONE: "Done",
}


class ProgressBar:
    """On a terminal one line that changes, elsewhere a line for each stage and each tenth.

    Args:
        file: Where it is written; standard error when None.
    """

    def __init__(self, file: TextIO | None = None) -> None:
        self._file = file or sys.stderr
        self._changes = self._file.isatty()
        self._said = ""
        self._drawn = False

    def show(
        self, stage: JobStage, progress: float, seconds_left: float | None = None, reason: str = ""
    ) -> None:
        """The job has come so far; `reason` says why it waits."""
        if stage is JobStage.DONE and progress < 1:  # whoever knows why says so
            return
        words = f"{_STAGES[stage]}: {reason}" if reason else _STAGES[stage]
        left = f", {_minutes(seconds_left)} left" if seconds_left is not None else ""
        if self._changes:
            full = round(progress * WIDTH)
            bar = "#" * full + "." * (WIDTH - full)
            line = f"[{bar}] {progress:4.0%}  {words}{left}"
            # A line that wraps would stay there each time that it is drawn.
            self._write(f"\r\x1b[K{line[: shutil.get_terminal_size().columns - 1]}")
            self._drawn = True
        elif (said := f"{words} {int(progress * 10)}") != self._said:
            self._said = said
            self._write(f"{progress:4.0%}  {words}{left}\n")

    def close(self) -> None:
        """What is written next begins on a line of its own."""
        if self._drawn:
            self._drawn = False
            self._write("\n")

    def _write(self, text: str) -> None:
        self._file.write(text)
        self._file.flush()


def _minutes(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
