import base64
import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from contracts.doctor.packages import read_pins
from tools.environment import OPTIONAL, ROOT, SETS, Environment, SetupFailed


def write_wheel(folder: Path, version: str) -> str:
    """A wheel with one module.

    Returns:
        The line that pins it, with its hash.
    """
    info = f"tiny-{version}.dist-info"
    files = {
        "tiny.py": f'VERSION = "{version}"\n',
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: tiny\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = [f"{info}/RECORD,,"]
    for name, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=")
        record.append(f"{name},sha256={digest.decode()},{len(text)}")
    path = folder / f"tiny-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for name, text in (files | {f"{info}/RECORD": "\n".join(record)}).items():
            wheel.writestr(name, text)
    return f"tiny=={version} --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose locks name one small wheel, which pip finds without a network."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)  # the machine's own may constrain versions
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    (tmp_path / "requirements").mkdir()
    for name in (*SETS["default"], *SETS["dev"]):
        (tmp_path / f"requirements/{name}.txt").write_text("")
    (tmp_path / "requirements/dev.txt").write_text(write_wheel(wheels, "2.0"))
    (tmp_path / "requirements/frontend.txt").write_text(write_wheel(wheels, "1.0"))
    return tmp_path


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with pip alone; making one is most of what a set-up here takes."""
    folder = tmp_path_factory.mktemp("bare") / ".venv"
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    return folder


@pytest.mark.slow
def test_sets_are_installed_once_and_anew_when_their_locks_change(
    project: Path, bare: Path
) -> None:
    environment = Environment(project)
    shutil.copytree(bare, environment.folder, symlinks=True)
    assert environment.ensure("default") > 0
    assert environment.ensure("default") == 0
    assert list(environment.folder.rglob("tiny-1.0.dist-info"))
    assert environment.differences("default") == []
    (module,) = environment.folder.rglob("tiny.py")
    module.unlink()
    assert environment.differences("default") == ["tiny has lost files"]

    assert environment.ensure("dev") > 0
    assert environment.ensure("default") == 0, "the dev set holds the default set"

    (project / "requirements/frontend.txt").write_text(write_wheel(project / "wheels", "3.0"))
    assert environment.differences("default") == ["tiny is 2.0 instead of 3.0"]
    assert environment.ensure("default") > 0
    assert list(environment.folder.rglob("tiny-3.0.dist-info"))


@pytest.mark.slow
def test_a_set_up_that_was_interrupted_is_made_anew(project: Path) -> None:
    environment = Environment(project)
    environment.folder.mkdir()
    (environment.folder / "lipsync-setup.json").write_text(json.dumps({"installing": "default"}))
    (environment.folder / "half-a-package").touch()
    environment.ensure("default")
    assert environment.ready("default")
    assert not (environment.folder / "half-a-package").exists()


@pytest.mark.slow
def test_a_package_with_another_hash_is_refused_and_leaves_the_set_unready(
    project: Path, bare: Path
) -> None:
    (project / "requirements/backend.txt").write_text(f"tiny==1.0 --hash=sha256:{'0' * 64}\n")
    (project / "requirements/frontend.txt").write_text("")
    environment = Environment(project)
    shutil.copytree(bare, environment.folder, symlinks=True)
    with pytest.raises(SetupFailed, match=r"(?is)hash.*run this again"):
        environment.ensure("default")
    assert not environment.ready("default")


@pytest.mark.slow
def test_torch_is_installed_beside_the_locks_once(
    project: Path, bare: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_wheel(project / "wheels", "9.0")
    monkeypatch.setattr("tools.environment.TORCH", "tiny==9.0")
    environment = Environment(project)
    shutil.copytree(bare, environment.folder, symlinks=True)
    environment.ensure_torch()
    assert list(environment.folder.rglob("tiny-9.0.dist-info"))
    capsys.readouterr()
    environment.ensure_torch()
    assert capsys.readouterr().out == ""
    (project / "requirements/dev.txt").write_text("")
    (project / "requirements/frontend.txt").write_text("")
    environment.ensure("dev")
    assert environment.ready("default")
    capsys.readouterr()
    environment.ensure_torch()
    assert capsys.readouterr().out == "", "the set-up forgot that torch is there"


@pytest.mark.slow
def test_where_torch_cannot_be_had_the_set_up_goes_on_but_not_in_ci(
    project: Path, bare: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environment = Environment(project)
    shutil.copytree(bare, environment.folder, symlinks=True)
    monkeypatch.delenv("CI", raising=False)
    environment.ensure_torch()
    assert "No matching distribution found for torch" in capsys.readouterr().out
    monkeypatch.setenv("CI", "true")
    with pytest.raises(SetupFailed, match="torch"):
        environment.ensure_torch()
    assert "installing" not in (environment.folder / "lipsync-setup.json").read_text()


@pytest.mark.slow
def test_once_torch_is_there_nothing_is_left_of_an_installation_that_was_stopped(
    project: Path, bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_wheel(project / "wheels", "9.0")
    monkeypatch.setattr("tools.environment.TORCH", "tiny==9.0")
    environment = Environment(project)
    shutil.copytree(bare, environment.folder, symlinks=True)
    marker = environment.folder / "lipsync-setup.json"
    marker.write_text('{"installing": "torch"}')
    environment.ensure_torch()
    assert json.loads(marker.read_text()) == {"torch": "tiny==9.0"}


@pytest.mark.parametrize("name", [*SETS["default"], *OPTIONAL])
def test_the_dev_lock_holds_every_other_one_at_the_same_versions(name: str) -> None:
    theirs = {pin[:2] for pin in read_pins(ROOT / f"requirements/{name}.txt")}
    assert theirs <= {pin[:2] for pin in read_pins(ROOT / "requirements/dev.txt")}
