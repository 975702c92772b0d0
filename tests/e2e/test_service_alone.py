"""Each service with nothing but its own folder, what it shares, and its own lock."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tools.environment import ROOT

NEEDS = {
    "frontend": ("contracts", "lipsync_client"),
    "backend": ("contracts", "lipsync_client"),
    "gpu_service": ("contracts",),
}


@pytest.mark.slow
@pytest.mark.parametrize("service", NEEDS)
def test_a_service_starts_from_its_own_folder_and_lock_alone(service: str, tmp_path: Path) -> None:
    for folder in (service, *NEEDS[service]):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    python = tmp_path / "venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    uv = [sys.executable, "-m", "uv"]
    run([*uv, "venv", "--python", sys.executable, str(tmp_path / "venv")], tmp_path)
    options = ["--no-deps", "--only-binary", ":all:", "--require-hashes"]
    lock = str(ROOT / "requirements" / f"{service}.txt")
    run([*uv, "pip", "install", "--python", str(python), *options, "-r", lock], tmp_path)
    said = run(
        [str(python), "-W", "ignore", "-c", f"from {service}.app import create_app; create_app()"],
        tmp_path,
    )
    assert "Error" not in said
    missing = run(
        [str(python), "-c", "import importlib.util as u; print(u.find_spec('pytest'))"], tmp_path
    )
    assert missing.strip() == "None", "the environment is not clean"


def run(command: list[str], folder: Path) -> str:
    """A command's output; fails with it."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        command, cwd=folder, env=environment, text=True, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr
