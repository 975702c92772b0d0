import ast
import os
import sys
from pathlib import Path

import pytest

from tools import interpreter
from tools.environment import ROOT

pytestmark = pytest.mark.skipif(os.name == "nt", reason="makes executable scripts")


@pytest.fixture
def empty_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all of PATH, and no pyenv."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    return folder


def script(path: Path, body: str) -> None:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


@pytest.mark.parametrize("name", ["run.py", "tools/interpreter.py", "tools/__init__.py"])
def test_an_old_python_can_read_what_looks_for_a_newer_one(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    ast.parse(text, feature_version=(3, 6))


def test_a_python_that_does_not_run_is_passed_over(empty_path: Path) -> None:
    script(empty_path / "python3.12", "echo 'pyenv: python3.12: command not found' >&2; exit 127")
    (empty_path / "python3").symlink_to(sys.executable)
    assert interpreter.find_python() == str(empty_path / "python3")


def test_a_python_of_another_version_is_passed_over(empty_path: Path) -> None:
    script(empty_path / "python3", "echo 3 13")
    assert interpreter.find_python() is None


def test_a_version_that_pyenv_has_but_does_not_show_is_found(empty_path: Path) -> None:
    python = empty_path.parent / "pyenv/versions/3.12.9/bin/python"
    python.parent.mkdir(parents=True)
    script(python, "echo 3 12")
    assert interpreter.find_python() == str(python)


def test_uv_gets_a_python_where_none_is_found(
    empty_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script(
        empty_path / "uv",
        f'if [ "$2" = install ]; then : > {empty_path}/got; exit; fi\n'
        f"[ -e {empty_path}/got ] && echo /opt/python3.12",
    )
    assert interpreter.python_from_uv() == "/opt/python3.12"
    assert capsys.readouterr().out == "", "what `doctor --json` prints is for programs"


def test_without_any_python_the_message_says_what_to_install(
    empty_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interpreter, "USABLE", ((9, 9),))
    with pytest.raises(SystemExit, match=r"apt-get install python3\.12-venv"):
        interpreter.ensure_usable_python(["run.py", "demo"])
