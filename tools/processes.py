"""Processes in groups of their own, so that what they start ends with them."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any

_PR_SET_PDEATHSIG = 1
"""prctl(2)"""


def start(
    command: Sequence[str], *, output: int | IO[bytes], **options: Any
) -> subprocess.Popen[bytes]:
    """Start a command without input; its errors go where its output goes.

    Ctrl-C in the terminal does not reach its group: run.py gets it and stops all in order.
    """
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=os.name != "nt",
        creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        preexec_fn=_end_with_parent() if sys.platform == "linux" else None,
        **options,
    )


def _end_with_parent() -> Callable[[], object]:
    """What a child does first, so that it ends even where its parent is killed outright."""
    libc = ctypes.CDLL(None)  # loaded here: a forked child should do as little as possible
    return lambda: libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def ask_to_end(process: subprocess.Popen[bytes]) -> None:
    """Let the group end itself."""
    if os.name == "nt":
        process.send_signal(getattr(signal, "CTRL_BREAK_EVENT", signal.SIGTERM))
    else:
        _signal_group(process, signal.SIGTERM)


def kill(process: subprocess.Popen[bytes]) -> None:
    """End the group at once; harmless where it has ended."""
    if os.name == "nt":
        process.kill()
    else:
        _signal_group(process, signal.SIGKILL)


def _signal_group(process: subprocess.Popen[bytes], number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


@contextmanager
def lines_of(command: Sequence[str], **options: Any) -> Iterator[Iterator[str]]:
    """A command's output, line by line; the command is killed where the block does not end well.

    Raises:
        subprocess.CalledProcessError: It failed.
    """
    process = start(command, output=subprocess.PIPE, **options)
    with process:
        try:
            yield (line.decode(errors="replace").rstrip() for line in process.stdout or ())
            process.wait()
        except BaseException:
            kill(process)
            raise
    if process.returncode != 0:
        raise subprocess.CalledProcessError(process.returncode, command)
