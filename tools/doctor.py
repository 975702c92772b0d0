"""Look for what is missing on this machine, and name the line that mends it."""

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from typing import NamedTuple

from tools.environment import ROOT, Environment, SetupFailed, pins, refuse_unsupported_platform, say
from tools.interpreter import USABLE, version_of
from tools.services import PORTS, port_is_free

NEEDED_DISK_GB = 2.0
PACKAGES = """
import importlib.metadata as metadata, json, sys
print(json.dumps({d.metadata["Name"]: d.version for d in metadata.distributions()}))
"""


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
        yield from _list(environment, "voices", ["-m", "backend", "voices"])
        yield from _list(environment, "engines", ["-m", "gpu_service", "engines"])


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
    answer = _output(environment, ["-c", PACKAGES])
    installed = {_normal(name): version for name, version in json.loads(answer or "{}").items()}
    wanted = {
        name: pin for lock in environment.locks("default") for name, pin in pins(lock).items()
    }
    wrong = [
        f"{name} {installed.get(_normal(name), 'missing')}, wanted {version}"
        for name, version in wanted.items()
        if installed.get(_normal(name)) != version
    ]
    if wrong:
        return Finding("packages: " + "; ".join(wrong), False, "python3 run.py demo")
    return Finding(f"{len(wanted)} packages as locked", True)


def _list(environment: Environment, what: str, command: list[str]) -> Iterator[Finding]:
    answer = _output(environment, command)
    yield Finding(
        f"{what}: {len(answer.splitlines())}",
        bool(answer),
        f"{environment.python} {' '.join(command)}",
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


def _normal(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")
