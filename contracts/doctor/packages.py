"""How the installed packages differ from locks.

Standard library only, and also a program: `python -I contracts/doctor/packages.py LOCK…` prints one
difference a line, for an environment other than one's own.
"""

import operator
import platform
import re
import sys
from collections.abc import Callable, Iterable
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any, Final, NamedTuple

_PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)(?:\s*;\s*([^\\\n]+))?", re.M)
_COMPARES: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_TERM = re.compile(r"(\w+) *(==|!=|<=|>=|<|>) *['\"]([^'\"]*)['\"]")


class Pin(NamedTuple):
    """One package of a lock."""

    name: str
    version: str
    marker: str = ""
    """Where it is to be installed, such as `sys_platform == 'win32'`; empty is everywhere."""


def read_pins(lock: Path) -> set[Pin]:
    """The packages of a lock; it may pin one several times, for other Pythons or systems."""
    found = _PIN.findall(lock.read_text(encoding="utf-8"))
    return {Pin(name, version, marker.strip()) for name, version, marker in found}


def differences(locks: Iterable[Path]) -> list[str]:
    """How the packages of this Python differ from locks, in words; empty where they are equal.

    Raises:
        OSError: A lock can't be read.
    """
    installed: dict[str, Distribution] = {}
    for package in distributions():
        installed.setdefault(_plain(package.name or ""), package)  # the first is what is imported
    pins = sorted({pin for lock in locks for pin in read_pins(lock) if applies(pin.marker)})
    return [found for pin in pins if (found := _difference(pin, installed.get(_plain(pin.name))))]


def _difference(pin: Pin, package: Distribution | None) -> str:
    if package is None:
        return f"{pin.name} {pin.version} is missing"
    if package.version != pin.version:
        return f"{pin.name} is {package.version} instead of {pin.version}"
    for file in package.files or ():
        try:
            num_bytes = Path(str(file.locate())).stat().st_size
        except OSError:
            return f"{pin.name} has lost files"
        if file.size is not None and file.size != num_bytes:
            return f"{pin.name} has files that were changed"
    return ""


def applies(marker: str) -> bool:
    """Whether a marker is true of this Python; one that is not understood is not.

    Knows comparisons joined by `and`, and groups of them joined by `or`: all that our locks have.
    """
    return not marker or any(
        all(_holds(term) for term in group.strip("() ").split(" and "))
        for group in marker.split(" or ")
    )


def _holds(term: str) -> bool:
    match = _TERM.fullmatch(term)
    facts = {
        "sys_platform": sys.platform,
        "platform_system": platform.system(),
        "platform_machine": platform.machine(),
        "implementation_name": sys.implementation.name,
        "platform_python_implementation": platform.python_implementation(),
        "python_version": ".".join(platform.python_version_tuple()[:2]),
        "python_full_version": platform.python_version(),
    }
    if match is None or match[1] not in facts:
        return False
    name, compare, wanted = match[1], _COMPARES[match[2]], match[3]
    if name.startswith("python"):
        return compare(_numbers(facts[name]), _numbers(wanted))
    return compare(facts[name], wanted)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version))


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    sys.stdout.writelines(f"{each}\n" for each in differences(map(Path, sys.argv[1:])))
