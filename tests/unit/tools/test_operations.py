"""The examples of docs/OPERATIONS.md for a machine of one's own: a unit and cloud-init."""

import os
import re
import shutil
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.pages import commands
from tools.environment import ROOT, TORCH

PAGE = ROOT / "docs/OPERATIONS.md"
TEXT = PAGE.read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.M | re.S)


@pytest.fixture
def unit() -> str:
    (found,) = [block for block in blocks("ini") if block.startswith("[Unit]")]
    return found


@pytest.fixture
def cloud() -> dict[str, Any]:
    (found,) = blocks("yaml")
    assert found.startswith("#cloud-config\n")
    return yaml.safe_load(found)


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd")
def test_systemd_understands_the_unit(unit: str, tmp_path: Path) -> None:
    assert complaints(unit, tmp_path) == []
    assert complaints(unit.replace("User=", "Usr="), tmp_path) != []


def complaints(unit: str, folder: Path) -> list[str]:
    """What systemd has against a unit."""
    # What it starts and where it works must exist; here that is this Python and this folder.
    there = unit.replace("/opt/lipsync-studio/.venv/bin/python", sys.executable)
    there = there.replace("/opt/lipsync-studio", str(ROOT)).replace("User=lipsync", "User=root")
    file = folder / "lipsync-gpu.service"
    file.write_text(there, encoding="utf-8")
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(file)],  # noqa: S607
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"SYSTEMD_LOG_LEVEL": "warning"},
    )
    # It reads the machine's other units too, and says what it thinks of them.
    return [line for line in done.stderr.splitlines() if "lipsync" in line]


def test_the_unit_gives_renders_their_time_and_the_journal_no_token(unit: str) -> None:
    parser = ConfigParser(strict=True, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string(unit)
    service = parser["Service"]
    assert float(service["TimeoutStopSec"]) > 30, "the render that runs has 30 s to end"
    assert service["ExecStart"].endswith(".venv/bin/python -m gpu_service serve")
    assert service["StandardOutput"].startswith("truncate:"), "the journal would hold the token"
    assert service["StandardError"] == "journal", "else the log goes where the output goes"
    assert service["UMask"] == "0077"


def test_cloud_init_installs_that_unit_and_its_settings(unit: str, cloud: dict[str, Any]) -> None:
    files = {file["path"]: file for file in cloud["write_files"]}
    assert files["/etc/systemd/system/lipsync-gpu.service"]["content"] == unit
    settings = files["/etc/lipsync-gpu.env"]
    assert settings["permissions"] == "0600"
    named = re.findall(r"^(\w+)=", settings["content"], re.M)
    example = (ROOT / ".env.example").read_text(encoding="utf-8")
    for name in named:
        assert re.search(rf"\b{name}\b", example), name


def test_cloud_inits_commands_are_the_ones_of_the_project(cloud: dict[str, Any]) -> None:
    for command in cloud["runcmd"]:
        subprocess.run(["/bin/sh", "-n", "-c", command], check=True)
    here = "/opt/lipsync-studio/"
    typed = [command.replace(here, "") for command in cloud["runcmd"]]
    (install,) = commands(PAGE, ".venv/bin/pip")
    assert " ".join(install) in typed
    assert f".venv/bin/pip install {TORCH}" in typed
    assert typed[-1] == "systemctl enable --now lipsync-gpu"
