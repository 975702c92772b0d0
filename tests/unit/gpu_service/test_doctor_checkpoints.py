import json
from pathlib import Path

import pytest

from contracts.doctor.findings import Finding
from gpu_service.doctor.checkpoints import look_at_checkpoints
from gpu_service.settings import Settings
from gpu_service.weights.registry import weights_named
from gpu_service.weights.store import WeightsRecord, WeightsStore


def look(folder: Path) -> list[Finding]:
    return look_at_checkpoints(Settings(_env_file=None, weights_dir=folder))  # type: ignore[call-arg]


def install(folder: Path, name: str) -> WeightsRecord:
    file = folder.with_name(f"{name}.pth")
    file.write_bytes(name.encode() * 100)
    store = WeightsStore(folder)
    return store.add(file, weights_named(name), lambda *_: None, accepted=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "weights"


def test_no_checkpoint_is_no_fault(folder: Path) -> None:
    assert [each.state for each in look(folder)] == ["ok"]
    folder.mkdir()
    assert [each.state for each in look(folder)] == ["ok"]


def test_a_checkpoint_as_it_was_installed_is_well(folder: Path) -> None:
    install(folder, "s3fd")
    install(folder, "wav2lip")
    found = look(folder)
    assert [each.state for each in found] == ["ok", "ok"]
    assert "wav2lip is as it was installed on" in found[0].what


def test_changed_and_lost_files_are_faults_with_the_line_that_installs_them(folder: Path) -> None:
    gone, changed = install(folder, "lipsync_expert"), install(folder, "s3fd")
    (folder / gone.file).unlink()
    (folder / changed.file).write_bytes(b"something else")
    found = look(folder)
    assert [each.state for each in found] == ["fault", "fault"]
    assert "lipsync_expert is gone" in found[0].what
    assert "weights add lipsync_expert.pth --name lipsync_expert" in found[0].fix
    assert "https://" in found[0].fix
    assert "s3fd is damaged" in found[1].what
    assert found[1].fix.endswith("weights fetch s3fd")


def test_a_record_that_cannot_be_read_is_a_fault(folder: Path) -> None:
    install(folder, "s3fd")
    (folder / "s3fd.json").write_text(json.dumps({"file": "s3fd.pth"}))
    found = look(folder)
    assert "record of s3fd can't be read" in found[0].what
    assert found[0].state == "fault"


@pytest.mark.parametrize(
    ("name", "line"),
    [("Wav2Lip-SD-GAN.pt", "--name wav2lip_gan &&"), ("mine.safetensors", "# NAME: wav2lip_gan,")],
)
def test_a_file_that_was_only_copied_there_is_a_fault(folder: Path, name: str, line: str) -> None:
    folder.mkdir()
    (folder / name).touch()
    found = look(folder)
    assert [each.state for each in found] == ["ok", "fault"]
    assert f"weights add {folder / name} " in found[1].fix
    assert line in found[1].fix


def test_what_is_left_over_may_go(folder: Path) -> None:
    folder.mkdir()
    old = folder / "wav2lip_gan-0123456789ab.pth"
    old.touch()
    found = look(folder)
    assert [each.state for each in found] == ["ok", "note"]
    assert found[1].fix == f"rm -r {old}"


def test_other_files_are_nobodys_business(folder: Path) -> None:
    folder.mkdir()
    for name in ("README.txt", ".wav2lip.part.pth", ".s3fd.lock"):
        (folder / name).touch()
    assert [each.state for each in look(folder)] == ["ok"]
