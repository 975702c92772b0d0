import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from notebooks.background import Background
from tests.processes import wait_until
from tools.environment import ROOT


def python(code: str) -> list[str]:
    return [sys.executable, "-u", "-c", textwrap.dedent(code)]


def test_what_a_command_says_is_shown_as_it_comes(capfd: pytest.CaptureFixture[str]) -> None:
    waits = """
    import signal, sys
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    print("first", flush=True)
    print("second", file=sys.stderr, flush=True)
    signal.sigwait([signal.SIGTERM])
    print("last, without a line's end", end="")
    """
    command = Background(python(waits))
    assert command.wait_for("second")
    assert command.running
    assert capfd.readouterr().out == "first\nsecond\n"
    assert command.stop(60) == 0
    assert capfd.readouterr().out == "last, without a line's end\n"
    assert not command.running


def test_waiting_for_what_never_comes_ends_with_the_command() -> None:
    command = Background(python("print('something else')"))
    assert command.wait_for("ready") is None
    assert command.output == "something else"
    assert command.wait() == 0


def test_much_output_comes_whole_and_in_order() -> None:
    command = Background(python("print('\\n'.join(map(str, range(50_000))))"))
    assert command.wait() == 0
    assert command.output.split("\n") == [str(number) for number in range(50_000)]


def test_a_command_that_does_not_heed_is_ended() -> None:
    stubborn = """
    import signal, threading
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("ready")
    threading.Event().wait()
    """
    command = Background(python(stubborn))
    assert command.wait_for("ready")
    assert command.stop(0.01) == -signal.SIGKILL


def test_a_command_whose_kernel_is_killed_still_ends_in_order(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    heeds = f"""
    import pathlib, signal
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    print("ready", flush=True)
    signal.sigwait([signal.SIGTERM])
    print("its output still goes somewhere", flush=True)
    pathlib.Path({str(trace)!r}).write_text("ended in order")
    """
    kernel = f"""
    import sys, threading
    from notebooks.background import Background
    Background({python(heeds)!r}).wait_for("ready")
    threading.Event().wait()
    """
    process = subprocess.Popen(
        python(kernel), cwd=ROOT, env=os.environ | {"PYTHONPATH": ""}, stdout=subprocess.PIPE
    )
    with process:
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        process.kill()
    wait_until(lambda: trace.exists() and trace.read_text() == "ended in order")
