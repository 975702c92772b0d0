"""The commands about weights, as a person types them."""

import io
import sys
from pathlib import Path
from types import ModuleType

import pytest

from gpu_service.cli import main
from gpu_service.weights.download import CHUNK_BYTES
from gpu_service.weights.registry import WEIGHTS
from tests.fakes.file_server import serving_file
from tests.parity_weights import seeded_checkpoint


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GPU_WEIGHTS_DIR", str(tmp_path / "weights"))
    return tmp_path / "weights"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_list_tells_what_a_person_must_know(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["weights", "list"]) == 0
    said = capsys.readouterr().out
    for weights in WEIGHTS.values():
        for part in (weights.name, weights.title, weights.licence, weights.size):
            assert part in said
    assert "not tried" in said
    assert said.count("not installed") == len(WEIGHTS)


def test_a_checkpoint_is_added_listed_and_verified(
    tmp_path: Path, torch: ModuleType, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = seeded_checkpoint(tmp_path / "wav2lip_gan.pth", "safetensors")
    assert main(["weights", "add", str(file)]) == 1
    assert "--accept-licence" in capsys.readouterr().err
    assert main(["weights", "add", str(file), "--accept-licence"]) == 0
    assert main(["weights", "add", str(file)]) == 0, "it was accepted once"
    assert main(["weights", "list"]) == 0
    assert capsys.readouterr().out.count("not installed") == len(WEIGHTS) - 1
    assert main(["weights", "verify"]) == 0
    assert "unchanged" in capsys.readouterr().out
    next(folder.glob("*.pth")).write_bytes(b"tampered")
    assert main(["weights", "verify"]) == 1
    assert "changed" in capsys.readouterr().out


def test_a_checkpoint_of_another_network_is_refused(
    tmp_path: Path, torch: ModuleType, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = seeded_checkpoint(tmp_path / "mine.st", "safetensors", net="syncnet")
    assert main(["weights", "add", str(file), "--name", "wav2lip", "--accept-licence"]) == 1
    assert "looks like Wav2Lip's SyncNet" in capsys.readouterr().err
    assert not folder.exists()


def test_a_file_whose_name_tells_nothing_needs_a_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["weights", "add", str(tmp_path / "mine.pth"), "--accept-licence"]) == 1
    assert "--name" in capsys.readouterr().err


def test_a_file_that_is_not_there_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["weights", "add", str(tmp_path / "s3fd.pth")]) == 1
    assert "s3fd.pth: No such file" in capsys.readouterr().err


def test_a_checkpoint_is_fetched_with_its_progress_shown(
    tmp_path: Path,
    torch: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    content = seeded_checkpoint(tmp_path / "file", "safetensors", net="syncnet").read_bytes()
    monkeypatch.setattr(sys, "stderr", shown := Terminal())
    with serving_file(content, breaks=[10 * CHUNK_BYTES + 5]) as server:
        fetch = ["weights", "fetch", "lipsync_expert", "--accept-licence", "--url", server.url]
        assert main(fetch) == 0
    assert server.ranges == ["", f"bytes={10 * CHUNK_BYTES}-"]
    assert "100 %" in shown.getvalue()
    assert "installed lipsync_expert-" in capsys.readouterr().out


@pytest.mark.parametrize(("answer", "status"), [("yes", 0), ("", 1)])
def test_at_a_terminal_the_licence_is_asked_for(
    answer: str,
    status: int,
    tmp_path: Path,
    torch: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = seeded_checkpoint(tmp_path / "lipsync_expert.pth", "safetensors", net="syncnet")
    monkeypatch.setattr(sys, "stdin", Terminal(f"{answer}\n"))
    assert main(["weights", "add", str(file)]) == status
    assert "LRS2" in capsys.readouterr().out


def test_without_torch_a_file_is_installed_unseen_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "gpu_service.runtimes.torch_runtime", raising=False)
    (tmp_path / "s3fd.pth").write_bytes(b"anything")
    assert main(["weights", "add", str(tmp_path / "s3fd.pth")]) == 0
    assert "torch is not installed" in capsys.readouterr().out
