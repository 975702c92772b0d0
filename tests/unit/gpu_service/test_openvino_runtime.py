"""OpenVINO in a process that lives on."""

import subprocess
import sys
from pathlib import Path

import pytest

SIGNAL_AFTER_USE = """
import gc, signal, threading
from gpu_service.runtimes.openvino_runtime import OpenVinoRuntime

used = [OpenVinoRuntime()]
let_go = threading.Thread(target=lambda: (used.clear(), gc.collect()))
let_go.start()
let_go.join()
try:
    signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt:
    print("interrupted")
"""


def test_a_signal_does_no_harm_after_a_runtime_was_let_go_in_another_thread() -> None:
    pytest.importorskip("openvino")
    command = [sys.executable, "-W", "ignore", "-c", SIGNAL_AFTER_USE]
    folder = Path(__file__).parents[3]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "interrupted\n"), done.stderr
