"""The command `export`, and exports that are installed."""

import json
import math
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from contracts.errors import CheckpointMismatch, EngineUnavailable
from gpu_service.cli import main
from gpu_service.engines.wav2lip import export as exporting
from gpu_service.engines.wav2lip import generator
from gpu_service.engines.wav2lip.generator import SIGNATURES, load_generator
from gpu_service.settings import Compute
from gpu_service.weights.exports import Difference, Export, check_export, sha256_of
from gpu_service.weights.registry import WEIGHTS
from gpu_service.weights.store import WeightsStore
from tests.exports import Exports
from tests.media import SAMPLES

TOO_FAR = {"face": Difference(max=2e-4, mean=1e-6), "mouth": Difference(max=1e-6, mean=1e-7)}
NETWORKS = ("face", "mouth", "whole")


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WeightsStore:
    """Where the command looks for weights; nothing is installed."""
    monkeypatch.setenv("GPU_WEIGHTS_DIR", str(tmp_path / "weights"))
    return WeightsStore(tmp_path / "weights")


@pytest.fixture
def installed(exports: Exports, monkeypatch: pytest.MonkeyPatch) -> Exports:
    """The seeded checkpoint is installed."""
    monkeypatch.setenv("GPU_WEIGHTS_DIR", str(exports.store.folder))
    return exports


@pytest.fixture
def writer(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Writes files that hold nothing, which nobody compares."""

    def write(_module: object, _signature: object, stem: Path, _samples: object) -> None:
        stem.with_suffix(".onnx").write_text(stem.name)

    fake = SimpleNamespace(write=write, libraries=lambda *, quantised: {"pen": "1"})
    monkeypatch.setattr(exporting, "_writer", lambda _format: fake)
    load = exporting.load_generator
    monkeypatch.setattr(
        exporting,
        "load_generator",
        lambda path, compute: None if path.is_dir() else load(path, compute),
    )
    monkeypatch.setattr(exporting, "compare", lambda *_: {})
    return fake


def an_export(folder: Path, **changes: Any) -> Path:
    """A folder as the command writes it, whose networks are a few letters."""
    folder.mkdir()
    for name in NETWORKS:
        (folder / f"{name}.onnx").write_text(name)
    description = {
        "weights": "wav2lip",
        "format": "onnx",
        "precision": "fp32",
        "networks": NETWORKS,
        "files": {path.name: sha256_of(path) for path in sorted(folder.iterdir())},
        "checkpoint_sha256": "0" * 64,
        "libraries": {},
        "parity": {},
        "licence": "none",
    }
    (folder / "export.json").write_text(json.dumps(description | changes))
    return folder


@pytest.mark.parametrize(
    ("to", "suffixes", "libraries"),
    [
        ("openvino", (".bin", ".xml"), ("torch", "openvino")),
        ("onnx", (".onnx",), ("torch", "onnx")),
    ],
)
def test_an_export_is_described_and_compared(
    to: Any, suffixes: tuple[str, ...], libraries: tuple[str, ...], exports: Exports
) -> None:
    folder, said = exports.made(to)
    files = [f"{network}{suffix}" for network in NETWORKS for suffix in suffixes]
    assert sorted(path.name for path in folder.iterdir()) == sorted(["export.json", *files])
    export = check_export(folder, "wav2lip", NETWORKS)
    assert (export.format, export.precision) == (to, "fp32")
    assert export.checkpoint_sha256 == sha256_of(exports.checkpoint)
    assert tuple(export.libraries) == libraries
    assert export.licence == WEIGHTS["wav2lip"].licence
    for network in NETWORKS:
        assert 0 < export.parity[network].max < 1e-4
        assert f"{network:8} max {export.parity[network].max:<8.3g}" in said
    assert "the pictures are the same" in said
    assert f"weights add {folder}" in said
    assert not list(exports.folder.glob(".*")), "nothing unfinished is left"


def test_the_signatures_are_those_of_the_networks(torch: ModuleType) -> None:
    from gpu_service.engines.wav2lip.network import Wav2LipGenerator
    from gpu_service.engines.wav2lip.split_network import split

    parts = split(Wav2LipGenerator().eval())
    assert set(parts) == set(SIGNATURES) == set(NETWORKS)
    for name, part in parts.items():
        assert list(SIGNATURES[name].inputs.values()) == list(part.shapes)
        with torch.inference_mode():
            given = part.module(*(torch.zeros(2, *shape) for shape in part.shapes))
        outputs = given if isinstance(given, tuple) else (given,)
        assert list(SIGNATURES[name].outputs.values()) == [tuple(one.shape[1:]) for one in outputs]


def test_bf16_in_onnx_is_refused_before_anything_is_done(
    weights: WeightsStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--to", "onnx", "--precision", "bf16", "-o", str(tmp_path / "out")]
    assert main(["export", "wav2lip", *arguments]) == 1
    assert "--to openvino for bf16" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_without_a_checkpoint_it_is_said_how_to_get_one(
    weights: WeightsStore, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", "wav2lip", "--to", "onnx"]) == 1
    assert "weights fetch wav2lip_gan" in capsys.readouterr().err


def test_what_is_there_is_not_overwritten(
    installed: Exports, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", "wav2lip", "--to", "onnx", "-o", str(tmp_path)]) == 1
    assert "is there already" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_an_export_that_differs_is_an_error_and_nothing_is_kept(
    installed: Exports,
    writer: SimpleNamespace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(exporting, "compare", lambda *_: TOO_FAR)
    assert main(["export", "wav2lip", "--to", "onnx", "-o", str(tmp_path / "out")]) == 1
    assert "face (by 0.0002)" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_an_export_that_computes_no_numbers_is_an_error_in_every_precision(
    installed: Exports,
    writer: SimpleNamespace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    nothing = {"mouth": exporting.Difference(max=math.nan, mean=math.nan)}
    monkeypatch.setattr(exporting, "compare", lambda *_: nothing)
    monkeypatch.setattr(exporting, "NUM_CALIBRATION", 2)
    arguments = ["--to", "onnx", "--precision", "int8", "-o", str(tmp_path / "out")]
    assert main(["export", "wav2lip", *arguments]) == 1
    assert "mouth" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_nothing(
    installed: Exports,
    writer: SimpleNamespace,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write = writer.write

    def full(module: object, signature: object, stem: Path, samples: object) -> None:
        write(module, signature, stem, samples)
        if stem.name == "mouth":
            raise OSError(28, "No space left on device", str(stem))

    writer.write = full
    assert main(["export", "wav2lip", "--to", "onnx", "-o", str(tmp_path / "out")]) == 1
    assert "No space left" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_other_precisions_may_differ_and_the_report_says_what_that_means(
    installed: Exports,
    writer: SimpleNamespace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(exporting, "compare", lambda *_: TOO_FAR)
    monkeypatch.setattr(exporting, "NUM_CALIBRATION", 2)
    arguments = ["--to", "onnx", "--precision", "int8", "-o", str(tmp_path / "out")]
    assert main(["export", "wav2lip", *arguments]) == 0
    said = capsys.readouterr().out
    assert "judged by eye" in said
    assert "random" not in said
    assert check_export(tmp_path / "out", "wav2lip", NETWORKS).precision == "int8"


def test_without_its_libraries_it_is_said_how_to_get_them(
    installed: Exports,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    monkeypatch.delitem(sys.modules, "gpu_service.runtimes.onnx_export", raising=False)
    assert main(["export", "wav2lip", "--to", "onnx", "-o", str(tmp_path / "out")]) == 1
    assert "gpu_service-export.txt" in capsys.readouterr().err


def test_an_export_is_installed_listed_verified_and_replaced(
    exports: Exports,
    weights: WeightsStore,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = an_export(tmp_path / "mine")
    (folder / "notes.txt").write_text("no part of it")
    assert main(["weights", "add", str(folder)]) == 1
    assert "--accept-licence" in capsys.readouterr().err
    assert main(["weights", "add", str(folder), "--accept-licence"]) == 0
    assert main(["weights", "add", str(folder)]) == 0, "the same once more"
    place = weights.require("wav2lip")
    assert sorted(path.name for path in place.iterdir()) == [
        "export.json", "face.onnx", "mouth.onnx", "whole.onnx"
    ]  # fmt: skip
    assert main(["weights", "list"]) == 0
    assert "an export for onnx in fp32" in capsys.readouterr().out
    assert main(["weights", "verify"]) == 0
    (place / "face.onnx").write_text("tampered")
    assert main(["weights", "verify"]) == 1
    assert main(["export", "wav2lip", "--to", "onnx"]) == 1
    assert "installed as an export" in capsys.readouterr().err

    assert main(["weights", "add", str(exports.checkpoint)]) == 0
    assert not place.exists()
    assert sorted(path.name for path in weights.folder.iterdir()) == [
        weights.require("wav2lip").name, "wav2lip.json"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: (folder / "export.json").unlink(), "without export.json"),
        (lambda folder: (folder / "export.json").write_text("{"), "export.json of mine is damaged"),
        (lambda folder: (folder / "face.onnx").unlink(), "face.onnx is missing"),
        (lambda folder: (folder / "face.onnx").write_text("a"), "face.onnx is not the file that"),
    ],
)
def test_an_export_that_is_not_whole_is_refused(
    damage: Any, words: str, weights: WeightsStore, tmp_path: Path, capsys: Any
) -> None:
    folder = an_export(tmp_path / "mine")
    damage(folder)
    assert main(["weights", "add", str(folder), "--accept-licence"]) == 1
    assert words in capsys.readouterr().err
    assert not weights.folder.exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"weights": "wav2lip_gan"}, "an export of wav2lip_gan, not of wav2lip"),
        ({"precision": "fp7"}, "damaged: precision"),
        ({"networks": ["face"]}, "the networks face instead of face, mouth, whole"),
        ({"networks": ["face", "mouth", "../whole"]}, "instead of face, mouth, whole"),
        ({"format": "openvino"}, "lists other files"),
        ({"files": {}}, "lists other files"),
    ],
)
def test_an_export_of_something_else_is_refused(
    changes: dict[str, Any], words: str, weights: WeightsStore, tmp_path: Path, capsys: Any
) -> None:
    folder = an_export(tmp_path / "mine", **changes)
    command = ["weights", "add", str(folder), "--name", "wav2lip", "--accept-licence"]
    assert main(command) == 1
    assert words in capsys.readouterr().err
    assert not weights.folder.exists()


def test_weights_that_are_never_exported_take_no_folder(
    weights: WeightsStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["weights", "add", str(an_export(tmp_path / "mine")), "--name", "s3fd"]) == 1
    assert "not of s3fd" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("compute", "changes", "words"),
    [
        (Compute(runtime="torch"), {}, "torch does not read"),
        (Compute(runtime="onnx"), {"format": "openvino"}, "onnx does not read"),
        (Compute(precision="fp32"), {"precision": "int8"}, "can't compute in fp32"),
        (Compute(device="cuda"), {"format": "openvino"}, "OpenVINO runs on the CPU"),
        (Compute(precision="bf16"), {}, "ONNX Runtime does not compute in bf16"),
    ],
)
def test_settings_that_an_export_does_not_suit_are_said(
    compute: Compute, changes: dict[str, Any], words: str, tmp_path: Path
) -> None:
    folder = an_export(tmp_path / "mine", **changes)
    with pytest.raises(EngineUnavailable, match=words) as refused:
        load_generator(folder, compute)
    assert "GPU_" in refused.value.hint


@pytest.mark.parametrize(
    ("have", "to", "reader"),
    [
        ({"onnxruntime", "openvino"}, "onnx", "onnx"),
        ({"openvino"}, "onnx", "openvino"),
        ({"onnxruntime", "openvino"}, "openvino", "openvino"),
    ],
)
def test_what_reads_an_export(
    have: set[str], to: Any, reader: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generator, "find_spec", lambda name: name if name in have else None)
    folder = an_export(tmp_path / "mine", format=to)
    opened = "face.onnx" if to == "onnx" else "face.xml"
    # The letters that it holds are no network, which the one that reads it says.
    module = f"gpu_service.runtimes.{reader}_runtime"
    with pytest.raises(CheckpointMismatch, match=opened) as refused:
        load_generator(folder)
    assert any(entry.frame.f_globals["__name__"] == module for entry in refused.traceback)


@pytest.mark.parametrize(
    ("to", "line"),
    [("onnx", "gpu_service-export.txt"), ("openvino", "gpu_service-openvino.txt")],
)
def test_an_export_that_nothing_here_reads_says_what_to_install(
    to: Any, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generator, "find_spec", lambda _name: None)
    with pytest.raises(EngineUnavailable) as refused:
        load_generator(an_export(tmp_path / "mine", format=to))
    assert line in refused.value.hint


@pytest.mark.parametrize("to", ["openvino", "onnx"])
def test_exports_need_no_pytorch(to: Any, exports: Exports, tmp_path: Path) -> None:
    folder, _ = exports.made(to)
    store = WeightsStore(tmp_path)
    store.add(folder, WEIGHTS["wav2lip"], lambda _weights, _path: None, accepted=True)
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "from pathlib import Path; import numpy as np\n"
        "from gpu_service.engines.wav2lip.engine import Wav2LipEngine\n"
        "from gpu_service.weights.store import WeightsStore\n"
        f"store = WeightsStore(Path({str(tmp_path)!r}))\n"
        "engine = Wav2LipEngine(store)\n"
        "print(engine.device, engine.runtime, engine.precision)\n"
    )
    root = SAMPLES.parent
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["cpu", to, "fp32"]


def test_a_description_survives_its_file(tmp_path: Path) -> None:
    export = check_export(an_export(tmp_path / "mine"), "wav2lip", NETWORKS)
    assert Export.model_validate_json(export.model_dump_json()) == export
    shutil.copytree(tmp_path / "mine", tmp_path / "other")
    assert sha256_of(tmp_path / "mine") == sha256_of(tmp_path / "other")
    (tmp_path / "other" / "face.onnx").rename(tmp_path / "other" / "faces.onnx")
    assert sha256_of(tmp_path / "mine") != sha256_of(tmp_path / "other")
