"""Look for what is missing on this machine, and name the line that mends it."""

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tools.environment import ROOT, Environment, SetupFailed, refuse_unsupported_platform, say
from tools.interpreter import USABLE, version_of
from tools.services import PORTS, port_is_free

NEEDED_DISK_GB = 2.0


class Finding(NamedTuple):
    """One thing that was looked at."""

    what: str
    good: bool
    fix: str = ""
    """The line that mends it."""


def doctor() -> int:
    """Print every finding.

    Returns:
        0 when nothing is wrong, else 1.
    """
    faults = 0
    for finding in findings():
        faults += not finding.good
        say(f"{'ok   ' if finding.good else 'FAULT'} {finding.what}")
        if not finding.good:
            say(f"      fix: {finding.fix}")
    say(f"\n{faults} fault{'s' if faults != 1 else ''}" if faults else "\nnothing is wrong")
    return 1 if faults else 0


def findings(environment: Environment | None = None) -> Iterator[Finding]:
    """Look at one thing after another; what needs the packages comes last."""
    environment = environment or Environment()
    yield Finding(f"Python {platform.python_version()} ({sys.executable})", True)
    yield _platform()
    yield _disk()
    for name, port in PORTS.items():
        yield Finding(
            f"port {port} for the {name}",
            port_is_free(port),
            f"stop the program that uses it, or: python3 run.py up --{name}-port {port + 1}",
        )
    packages = _packages(environment)
    yield packages
    if packages.good:
        yield _offline_voice(environment)
        yield from _engines(environment)


def _platform() -> Finding:
    name = f"{platform.system()} {platform.release()} on {platform.machine()}"
    try:
        refuse_unsupported_platform()
    except SetupFailed as error:
        return Finding(name, False, str(error))
    return Finding(name, True)


def _disk() -> Finding:
    free = shutil.disk_usage(ROOT).free / 1e9
    return Finding(
        f"{free:.1f} GB of disk are free",
        free >= NEEDED_DISK_GB,
        f"free {NEEDED_DISK_GB:.0f} GB on the disk of {ROOT}",
    )


def _packages(environment: Environment) -> Finding:
    if version_of(str(environment.python)) not in USABLE:
        return Finding("no environment yet", False, "python3 run.py demo")
    wrong = environment.differences("default")
    if wrong:
        fix = f"rm -r {environment.folder}; python3 run.py demo"
        return Finding("packages: " + "; ".join(wrong), False, fix)
    return Finding("packages as locked", True)


def _offline_voice(environment: Environment) -> Finding:
    with tempfile.TemporaryDirectory() as folder:
        target = str(Path(folder) / "hello.wav")
        speak = ["-m", "backend", "speak", "Hello.", "--voice", "espeak:en-us", "-o", target]
        said = _output(environment, speak)
    return Finding(
        f"offline voice: {said or 'espeak-ng does not speak'}",
        bool(said),
        f"{environment.python} -m pip install --force-reinstall --no-deps espeakng-loader",
    )


def _engines(environment: Environment) -> Iterator[Finding]:
    listed = _output(environment, ["-m", "gpu_service", "engines"])
    yield Finding(
        "engines:\n      " + (listed.replace("\n", "\n      ") or "none"),
        bool(listed),
        f"{environment.python} -m gpu_service engines",
    )


def _output(environment: Environment, command: list[str]) -> str:
    done = subprocess.run(
        [os.fspath(environment.python), *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() if done.returncode == 0 else ""
