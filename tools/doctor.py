"""Look for what is missing on this machine, and name the line that mends it."""

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
from tools.services import NAMES, PORTS, port_is_free, settings_of_the_person

NEEDED_DISK_GB = 2.0
BAD_SETTINGS = 2
"""Exit status of the services' command lines."""


class Finding(NamedTuple):
    """One thing that was looked at."""

    what: str
    fix: str = ""
    """The line that mends it; empty where nothing is wrong."""


def doctor() -> int:
    """Print every finding.

    Returns:
        0 when nothing is wrong, else 1.
    """
    faults = 0
    for finding in findings():
        faults += bool(finding.fix)
        say(f"{'FAULT' if finding.fix else 'ok   '} {finding.what}")
        if finding.fix:
            say(f"      fix: {finding.fix}")
    say(f"\n{faults} fault{'s' if faults != 1 else ''}" if faults else "\nnothing is wrong")
    return 1 if faults else 0


def findings(environment: Environment | None = None) -> Iterator[Finding]:
    """Look at one thing after another; what needs the packages comes last."""
    environment = environment or Environment()
    yield Finding(f"Python {platform.python_version()} ({sys.executable})")
    yield _platform()
    yield _disk()
    yield from map(_port, PORTS)
    packages = _packages(environment)
    yield packages
    if not packages.fix:
        yield _offline_voice(environment)
        yield _engines(environment)


def _platform() -> Finding:
    name = f"{platform.system()} {platform.release()} on {platform.machine()}"
    try:
        refuse_unsupported_platform()
    except SetupFailed as error:
        return Finding(name, str(error))
    return Finding(name)


def _disk() -> Finding:
    free = shutil.disk_usage(ROOT).free / 1e9
    what = f"{free:.1f} GB of disk are free"
    if free >= NEEDED_DISK_GB:
        return Finding(what)
    return Finding(what, f"free {NEEDED_DISK_GB:.0f} GB on the disk of {ROOT}")


def _port(name: str) -> Finding:
    configured = settings_of_the_person().get(f"{name.upper()}_PORT", "")
    port = int(configured) if configured.isdecimal() else PORTS[name]
    if port_is_free(port):
        return Finding(f"port {port} is free for the {NAMES[name]}")
    return Finding(
        f"port {port}, meant for the {NAMES[name]}, is in use",
        f"stop the program that uses it, or: python3 run.py up --{name}-port {port + 1}",
    )


def _packages(environment: Environment) -> Finding:
    if version_of(str(environment.python)) not in USABLE:
        return Finding(f"there is no environment in {environment.folder}", "python3 run.py demo")
    wrong = environment.differences("default")
    if wrong:
        fix = f"rm -r {environment.folder}; python3 run.py demo"
        return Finding("packages: " + "; ".join(wrong), fix)
    return Finding("packages as locked")


def _offline_voice(environment: Environment) -> Finding:
    with tempfile.TemporaryDirectory() as folder:
        target = str(Path(folder) / "hello.wav")
        speak = ["-m", "backend", "speak", "Hello.", "--voice", "espeak:en-us", "-o", target]
        return _ask("offline voice", environment, speak)


def _engines(environment: Environment) -> Finding:
    return _ask("engines", environment, ["-m", "gpu_service", "engines"])


def _ask(what: str, environment: Environment, arguments: list[str]) -> Finding:
    """What a service's command line answers; where it fails, its last words are the fault."""
    command = [str(environment.python), *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return Finding(f"{what}: {done.stdout.strip()}".replace("\n", "\n      "))
    why = (done.stderr.strip() or f"exit status {done.returncode}").splitlines()[-1]
    if done.returncode == BAD_SETTINGS:
        return Finding(f"{what}: {why}", "correct the setting in .env or in the environment")
    return Finding(f"{what}: {why}", f"rm -r {environment.folder}; python3 run.py demo")
