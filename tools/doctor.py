"""Look for what is missing or wrong on this machine, and name the line that mends it."""

import platform
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from contracts.doctor.command import tell
from contracts.doctor.findings import Finding, exit_status, fault, from_json, look_at_all, well
from contracts.doctor.machine import (
    Door,
    ask_python,
    look_at_disk,
    look_at_memory,
    look_at_port,
    look_at_python,
    quoted,
    where_set,
)
from tools.environment import Environment, SetupFailed, refuse_unsupported_platform
from tools.interpreter import USABLE, version_of
from tools.services import NAMES, PORTS, settings_of_the_person

NEEDED_DISK_GB = 2.0
NEEDED_MEMORY_GB = 1.5
SECONDS = 40.0
"""How long everything may take. A service's own doctor gives up what hangs after 25 s."""
ASK_SECONDS = 35.0
HEALTH = {"frontend": "/health", "backend": "/health/live", "gpu": "/health"}
"""What each of `PORTS` answers without a token."""
_FRONTEND_SETTINGS = """
from contracts.doctor.findings import as_json
from contracts.doctor.machine import look_at_folder
from contracts.settings_faults import look_at_settings
from frontend.settings import Settings
settings, found = look_at_settings(Settings, "FRONTEND_")
print(as_json([*found, look_at_folder("data", settings.data_dir, "FRONTEND_DATA_DIR")]))
"""
_SERVICES = {
    "frontend": ["-c", _FRONTEND_SETTINGS],
    "backend": ["-m", "backend", "doctor", "--json", "--service"],
    "GPU host": ["-m", "gpu_service", "doctor", "--json", "--service"],
}
"""What each service says of itself, in the environment with its packages."""


def doctor(*, json: bool) -> int:
    """Print every finding.

    Args:
        json: For programs, instead of people.

    Returns:
        0 when nothing is wrong, else 1.
    """
    found = findings()
    tell(found, json=json)
    return exit_status(found)


def findings(
    environment: Environment | None = None,
    usage: Callable[[Path], Any] = shutil.disk_usage,
) -> list[Finding]:
    """Look at everything at the same time.

    Args:
        environment: What runs the services.
        usage: Tells total, used and free bytes of a folder's disk.
    """
    environment = environment or Environment()
    root = environment.root
    configured = settings_of_the_person(root)
    folders = {root, root / configured.get("BACKEND_DATA_DIR", ".")}
    found = [look_at_python(), _platform(), *look_at_memory(NEEDED_MEMORY_GB)]
    found += [look_at_disk(folder, NEEDED_DISK_GB, usage) for folder in sorted(folders)]
    found += [_port(name, configured) for name in PORTS]
    found += _tokens(configured)
    return found + _with_packages(environment)


def _platform() -> Finding:
    name = f"{platform.system()} {platform.release()} on {platform.machine()}"
    try:
        refuse_unsupported_platform()
    except SetupFailed as error:
        return fault("system", name, "The packages can't be installed.", str(error))
    return well("system", name)


def _port(name: str, configured: Mapping[str, str]) -> Finding:
    setting = f"{name.upper()}_PORT"
    text = configured.get(setting, "")
    port = int(text) if text.isdecimal() and int(text) < 65536 else PORTS[name]
    line = f"python3 run.py up --{name}-port {port + 1}   # or stop the other program"
    return look_at_port(Door(NAMES[name], setting, port, HEALTH[name]), line)


def _tokens(configured: Mapping[str, str]) -> list[Finding]:
    """Tokens that one service sends and another expects, where both are on this machine."""
    pairs = {
        "FRONTEND_BACKEND_TOKEN": ("BACKEND_TOKEN", "FRONTEND_BACKEND_URL"),
        "BACKEND_GPU_TOKEN": ("GPU_TOKEN", "BACKEND_GPU_URL"),
    }
    return [
        fault(
            "token",
            f"{sent} (from {where_set(sent)}) is another one than {expected}",
            "The one service refuses what the other asks.",
            f"{sent}=…   # in {where_set(sent)}: the value of {expected}",
        )
        for sent, (expected, elsewhere) in pairs.items()
        if configured.get(sent, "") != configured.get(expected, "")
        and configured.get(sent)
        and configured.get(expected)
        and not configured.get(elsewhere)
    ]


def _with_packages(environment: Environment) -> list[Finding]:
    """What the packages are, and what the services say that run with them."""
    if version_of(str(environment.python)) not in USABLE:
        what = f"there is no environment in {environment.folder}"
        why = "Voices, engines, checkpoints and GPU hosts can't be looked at without it."
        return [fault("packages", what, why, "python3 run.py demo")]
    looks: dict[str, Callable[[], list[Finding]]] = {"packages": lambda: [_packages(environment)]}
    looks |= {name: _Service(name, environment) for name in _SERVICES}
    found = look_at_all(looks, SECONDS)
    if not any(each.topic == "packages" and each.state == "fault" for each in found):
        return found
    # What could not be asked is told by the packages already.
    return [
        each._replace(state="note", fix="") if each.topic in _SERVICES else each for each in found
    ]


def _packages(environment: Environment) -> Finding:
    wrong = environment.differences("default")
    if not wrong:
        return well("packages", "as locked")
    return fault(
        "packages",
        "; ".join(wrong),
        "A service may not start, or do something else than what was tried.",
        _anew(environment),
    )


def _anew(environment: Environment) -> str:
    return f"rm -r {quoted(environment.folder)}; python3 run.py demo"


class _Service:
    """Asks a service's own doctor."""

    def __init__(self, name: str, environment: Environment) -> None:
        self._name = name
        self._environment = environment

    def __call__(self) -> list[Finding]:
        python = str(self._environment.python)
        try:
            answer = ask_python(
                ["-W", "ignore", *_SERVICES[self._name]],
                ASK_SECONDS,
                python,
                cwd=self._environment.root,
            )
            return from_json(answer.out)
        except OSError as error:
            words = str(error)
        except ValueError:
            if answer.status is None:
                return [self._late()]
            words = answer.last_words
        what = f"the {self._name} could not be asked: {words}"
        return [fault(self._name, what, "So it would not start.", _anew(self._environment))]

    def _late(self) -> Finding:
        return fault(
            self._name,
            f"the {self._name} could not be asked: it had not ended after {ASK_SECONDS:.0f} s",
            "So nothing is known of it. A slow disk takes long the first time, and not again.",
            "python3 run.py doctor   # once more",
        )
