import platform
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from contracts.doctor import packages
from contracts.doctor.packages import applies, differences, read_pins
from tools.environment import ROOT

LOCKS = sorted((ROOT / "requirements").glob("*.txt"))


def lock(folder: Path, *lines: str) -> Path:
    path = folder / "some.txt"
    path.write_text("".join(f"{line} \\\n    --hash=sha256:00\n" for line in lines))
    return path


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of two files, installed before all others."""
    info = tmp_path / "tiny_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: Tiny.Package\nVersion: 1.0\n")
    (info / "RECORD").write_text("tiny.py,sha256=00,5\ntiny_package-1.0.dist-info/RECORD,,\n")
    (tmp_path / "tiny.py").write_text("a = 1")
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_packages_as_locked_differ_in_nothing(tiny: Path) -> None:
    pins = ["tiny-package==1.0", f"pytest=={version('pytest')}"]
    assert differences([lock(tiny, *pins)]) == []


def test_other_missing_and_damaged_packages_are_named(tiny: Path) -> None:
    pins = ["tiny-package==2.0", "nowhere-to-be-found==1.0", "never==1.0 ; sys_platform == 'none'"]
    assert differences([lock(tiny, *pins)]) == [
        "nowhere-to-be-found 1.0 is missing",
        "tiny-package is 1.0 instead of 2.0",
    ]
    whole = lock(tiny, "tiny-package==1.0")
    (tiny / "tiny.py").write_text("a = 12")
    assert differences([whole]) == ["tiny-package has files that were changed"]
    (tiny / "tiny.py").unlink()
    assert differences([whole]) == ["tiny-package has lost files"]


def test_as_a_program_it_needs_nothing_installed(tiny: Path) -> None:
    command = [sys.executable, "-I", "-S", packages.__file__, str(lock(tiny, "pip==1.0"))]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "pip 1.0 is missing\n"


@pytest.mark.parametrize(
    ("marker", "holds"),
    [
        ("", True),
        ("python_full_version >= '3.9'", True),  # as numbers, not as text
        ("python_full_version < '3.9'", False),
        ("python_version < '0'", False),
        ("sys_platform == 'none'", False),
        (f"sys_platform == '{sys.platform}' and python_version >= '3'", True),
        (f"platform_machine != '{platform.machine()}' or implementation_name == 'cpython'", True),
        ("(sys_platform == 'none' and python_version > '3') or (python_version > '3')", True),
        ("extra == 'tests'", False),
        ("what is this", False),
    ],
)
def test_a_marker_says_where_a_package_belongs(marker: str, holds: bool) -> None:
    assert applies(marker) == holds


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.stem)
def test_every_marker_of_our_locks_is_understood(path: Path) -> None:
    term = r"(sys_platform|platform_\w+|implementation_name|python\w*version) *[=!<>]+ *'[^']*'"
    group = rf"\(?{term}( and {term})*\)?"
    for pin in read_pins(path):
        assert not pin.marker or re.fullmatch(rf"{group}( or {group})*", pin.marker), pin
