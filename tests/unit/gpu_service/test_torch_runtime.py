"""Checkpoints in every form, and what is no checkpoint."""

import os
import pickle
import struct
import threading
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import numpy as np
import pytest

from contracts.errors import CheckpointMismatch, EngineUnavailable
from tests.parity_weights import manifest, seeded_checkpoint, seeded_state_dict

pytestmark = pytest.mark.usefixtures("torch")

Kind = Literal["dict", "torchscript", "safetensors"]
KINDS: tuple[Kind, ...] = ("dict", "torchscript", "safetensors")


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory, torch: ModuleType) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("checkpoints")
    return {kind: seeded_checkpoint(folder / kind, kind) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_every_form_gives_the_same_weights(kind: Kind, checkpoints: dict[str, Path]) -> None:
    from gpu_service.runtimes.torch_runtime import load_state_dict

    loaded = load_state_dict(checkpoints[kind])
    assert loaded.keys() == manifest("wav2lip").keys()
    for key, value in seeded_state_dict("wav2lip").items():
        np.testing.assert_array_equal(loaded[key].numpy(), value)


def test_an_archive_is_read_as_torch_itself_reads_it(
    checkpoints: dict[str, Path], torch: ModuleType
) -> None:
    from gpu_service.runtimes.torch_runtime import load_state_dict

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates archives
        theirs = torch.jit.load(checkpoints["torchscript"]).state_dict()
    ours = load_state_dict(checkpoints["torchscript"])
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_a_bare_state_dict_and_the_old_form_of_saving_are_read(
    tmp_path: Path, torch: ModuleType
) -> None:
    from gpu_service.runtimes.torch_runtime import load_state_dict

    weights = {"a.weight": torch.arange(6.0).reshape(2, 3).T, "a.bias": torch.ones(2).half()}
    for new in (True, False):
        torch.save(weights, tmp_path / "bare", _use_new_zipfile_serialization=new)
        loaded = load_state_dict(tmp_path / "bare")
        assert loaded.keys() == weights.keys()
        assert all(torch.equal(loaded[key], weights[key]) for key in weights)


@pytest.mark.parametrize("kind", KINDS)
def test_the_runtime_computes_what_the_network_does(
    kind: Kind, checkpoints: dict[str, Path], torch: ModuleType
) -> None:
    from gpu_service.engines.wav2lip.network import Wav2LipGenerator
    from gpu_service.runtimes.torch_runtime import TorchRuntime, load_checkpoint

    random = np.random.default_rng(3)
    mel = random.standard_normal((2, 1, 80, 16), np.float32)
    faces = random.random((2, 6, 96, 96), np.float32)
    network = Wav2LipGenerator().eval()
    network.load_state_dict(
        {key: torch.tensor(value) for key, value in seeded_state_dict("wav2lip").items()}
    )
    with torch.inference_mode():
        expected = network(torch.tensor(mel), torch.tensor(faces)).numpy()
    loaded = Wav2LipGenerator()
    load_checkpoint(loaded, checkpoints[kind])
    runtime = TorchRuntime("cpu")
    (drawn,) = runtime.compile(loaded)(mel, torch.tensor(faces))
    found = runtime.to_numpy(drawn)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_precisions_are_those_that_the_device_computes_in(
    torch: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gpu_service.runtimes.torch_runtime import TorchRuntime

    assert TorchRuntime("cpu").precision == "fp32"
    runtime = TorchRuntime("cpu", "bf16")
    (found,) = runtime.compile(torch.nn.Conv2d(1, 1, 1))(np.ones((1, 1, 2, 2), np.float32))
    assert found.dtype == torch.bfloat16
    assert runtime.to_numpy(found).dtype == np.float32
    with pytest.raises(EngineUnavailable) as refused:
        TorchRuntime("cpu", "fp16")
    assert "GPU_PRECISION" in refused.value.hint
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert TorchRuntime("auto").precision == "fp16"


def test_networks_of_several_threads_are_recorded_one_after_the_other(
    torch: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gpu_service.runtimes import torch_runtime

    both, met = threading.Barrier(2), []

    class Recorder:
        def __init__(self, _network: Any, tensors: list[Any]) -> None:
            self.replay = tuple
            try:
                both.wait(timeout=0.3)
            except threading.BrokenBarrierError:
                return
            met.append(tensors)

    monkeypatch.setattr(torch_runtime, "_Graph", Recorder)
    networks = [
        torch_runtime.TorchNetwork(torch.nn.Conv2d(1, 1, 1), "meta", torch.float32)
        for _ in range(2)
    ]
    given = np.ones((1, 1, 2, 2), np.float32)
    threads = [threading.Thread(target=network, args=(given,)) for network in networks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert both.broken, "each was recorded"
    assert not met


def test_fp32_is_not_rounded_to_tf32(torch: ModuleType) -> None:
    import gpu_service.runtimes.torch_runtime  # noqa: F401

    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32


def test_results_of_several_shapes_are_fetched_together(torch: ModuleType) -> None:
    from gpu_service.runtimes.torch_runtime import TorchRuntime

    shapes = [(2, 3, 4), (1,), (0, 5), (3, 1)]
    given = [np.random.default_rng(0).integers(256, size=each, dtype=np.uint8) for each in shapes]
    found = TorchRuntime("cpu").fetch([torch.tensor(each) for each in given])
    for one, other in zip(found, given, strict=True):
        np.testing.assert_array_equal(one, other)
    assert TorchRuntime("cpu").place(np.ones(2, np.float32)).dtype == torch.float32


@pytest.mark.gpu
def test_a_network_on_a_cuda_card_is_recorded_once_a_shape_and_gives_memory_of_its_own(
    torch: ModuleType,
) -> None:
    from gpu_service.runtimes.torch_runtime import TorchRuntime

    runtime, conv = TorchRuntime("cuda", "fp32"), torch.nn.Conv2d(3, 4, 3)
    network = runtime.compile(conv)
    given = np.random.default_rng(0).random((4, 3, 9, 9), np.float32)
    first, second = network(given[:2])[0], network(given[2:])[0]
    (short,) = network(given[:1])
    with torch.inference_mode():
        expected = conv.cpu()(torch.tensor(given)).numpy()
    found = np.concatenate([runtime.to_numpy(each) for each in (first, second)])
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(runtime.to_numpy(short), expected[:1], atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_a_file_that_is_cut_short_is_refused(
    kind: Kind, share: float, checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    from gpu_service.runtimes.torch_runtime import load_state_dict

    whole = checkpoints[kind].read_bytes()
    (tmp_path / "part.pth").write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(CheckpointMismatch, match=r"part\.pth"):
        load_state_dict(tmp_path / "part.pth")


@pytest.mark.parametrize("form", ["new", "old", "safetensors", "archive"])
def test_no_damage_makes_another_error(form: str, tmp_path: Path, torch: ModuleType) -> None:
    from safetensors.torch import save_file

    from gpu_service.runtimes.torch_runtime import load_checkpoint

    network, path = torch.nn.Linear(3, 2), tmp_path / "file"
    if form == "archive":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch deprecates archives
            torch.jit.save(torch.jit.trace(network, torch.zeros(1, 3)), path)
    elif form == "safetensors":
        save_file(network.state_dict(), path)
    else:
        _saved(path, network.state_dict(), new=form == "new")
    whole = np.fromfile(path, np.uint8)
    random = np.random.default_rng(5)
    refused = 0
    for _ in range(200):
        damaged = whole.copy()
        damaged[random.integers(len(whole), size=5)] = random.integers(256, size=5)
        damaged.tofile(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch wonders at what it finds
            try:
                load_checkpoint(network, path)
            except CheckpointMismatch:
                refused += 1
    assert refused > 50


class Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.folder),)


def _saved(path: Path, content: object, *, new: bool) -> None:
    import torch

    torch.save(content, path, _use_new_zipfile_serialization=new)


def _archive(path: Path, content: object) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(content, 2))
        archive.writestr("archive/constants.pkl", pickle.dumps((), 2))


BOMB_FORMS: dict[str, Callable[[Path, object], None]] = {
    "a bare pickle": lambda path, content: path.write_bytes(pickle.dumps(content, 2)) and None,
    "torch's file": lambda path, content: _saved(path, content, new=True),
    "torch's old file": lambda path, content: _saved(path, content, new=False),
    "an archive": _archive,
}


@pytest.mark.parametrize("form", BOMB_FORMS)
def test_a_payload_in_a_pickle_does_not_run(form: str, tmp_path: Path) -> None:
    from gpu_service.runtimes.torch_runtime import load_state_dict

    BOMB_FORMS[form](tmp_path / "bomb.pth", {"state_dict": Bomb(tmp_path / "ran")})
    with pytest.raises(CheckpointMismatch):
        load_state_dict(tmp_path / "bomb.pth")
    assert not (tmp_path / "ran").exists()


def test_the_code_of_an_archive_does_not_run(tmp_path: Path, torch: ModuleType) -> None:
    from gpu_service.runtimes.torch_runtime import load_state_dict

    source = tmp_path / "writes.py"
    source.write_text(
        "import torch\n"
        "class Writes(torch.nn.Module):\n"
        "    def forward(self, x):\n"
        "        return x\n"
        "    @torch.jit.export\n"
        "    def __getstate__(self):\n"
        "        return (1, self.training)\n"
        "    @torch.jit.export\n"
        "    def __setstate__(self, state: tuple[int, bool]):\n"
        "        self.training = state[1]\n"
        f"        torch.save(state[0], {str(tmp_path / 'ran')!r})\n"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates archives
        torch.jit.save(torch.jit.script(_imported(source).Writes()), tmp_path / "bomb.pt")
        torch.jit.load(tmp_path / "bomb.pt")
    assert (tmp_path / "ran").exists()  # the payload is a real one
    (tmp_path / "ran").unlink()
    with pytest.raises(CheckpointMismatch):
        load_state_dict(tmp_path / "bomb.pt")
    assert not (tmp_path / "ran").exists()


def _imported(path: Path) -> Any:
    from importlib.util import module_from_spec, spec_from_file_location

    spec = spec_from_file_location(path.stem, path)
    assert spec
    assert spec.loader
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_compressed_archive_is_refused_before_it_is_unpacked(
    checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    from gpu_service.runtimes.torch_runtime import load_state_dict

    with (
        zipfile.ZipFile(checkpoints["torchscript"]) as source,
        zipfile.ZipFile(tmp_path / "packed.pt", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for name in source.namelist():
            if name.endswith(".pkl"):
                packed.writestr(name, source.read(name))
    with pytest.raises(CheckpointMismatch):
        load_state_dict(tmp_path / "packed.pt")


@pytest.mark.parametrize(
    "content",
    [b"", b"<html>sign in first</html>", struct.pack("<Q", 1 << 60) + b"{", b"PK\x03\x04" * 9],
)
def test_what_is_no_checkpoint_is_refused(content: bytes, tmp_path: Path) -> None:
    from gpu_service.runtimes.torch_runtime import load_state_dict

    (tmp_path / "file.pth").write_bytes(content)
    with pytest.raises(CheckpointMismatch, match=r"file\.pth"):
        load_state_dict(tmp_path / "file.pth")


@pytest.mark.parametrize("content", [{}, {"epoch": 3}, {"state_dict": {"a": 1}}, [1], {1: 2}])
def test_a_file_without_weights_is_refused(
    content: object, tmp_path: Path, torch: ModuleType
) -> None:
    from gpu_service.runtimes.torch_runtime import load_state_dict

    torch.save(content, tmp_path / "file.pth")
    with pytest.raises(CheckpointMismatch, match="holds"):
        load_state_dict(tmp_path / "file.pth")


def test_a_file_that_is_not_there_is_no_mismatch(tmp_path: Path) -> None:
    from gpu_service.runtimes.torch_runtime import load_state_dict

    with pytest.raises(FileNotFoundError):
        load_state_dict(tmp_path / "nothing.pth")


def test_another_networks_checkpoint_is_called_by_its_name(tmp_path: Path) -> None:
    from gpu_service.engines.wav2lip.network import Wav2LipGenerator
    from gpu_service.runtimes.torch_runtime import load_checkpoint

    other = seeded_checkpoint(tmp_path / "expert.pth", net="syncnet")
    with pytest.raises(CheckpointMismatch, match=r"expert\.pth .* looks like .*SyncNet"):
        load_checkpoint(Wav2LipGenerator(), other)


def test_what_differs_is_named(tmp_path: Path, torch: ModuleType) -> None:
    from gpu_service.runtimes.torch_runtime import load_checkpoint

    network = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, 1))
    weights = network.state_dict()
    weights["0.weight"] = torch.zeros(3, 4)
    weights["2.weight"] = weights.pop("1.weight")
    torch.save(weights, tmp_path / "file.pth")
    with pytest.raises(CheckpointMismatch) as refused:
        load_checkpoint(network, tmp_path / "file.pth")
    for part in ("1 missing: 1.weight", "1 unexpected: 2.weight", "0.weight is (3, 4) instead of"):
        assert part in refused.value.detail


@pytest.mark.parametrize("form", ["sparse", "without data"])
def test_tensors_that_cannot_be_copied_are_refused(
    form: str, tmp_path: Path, torch: ModuleType
) -> None:
    from gpu_service.runtimes.torch_runtime import load_checkpoint

    network = torch.nn.Linear(3, 2)
    empty = torch.zeros(2, 3, device="meta")
    odd = torch.ones(2, 3).to_sparse() if form == "sparse" else empty
    torch.save({"weight": odd, "bias": torch.ones(2)}, tmp_path / "file.pth")
    with pytest.raises(CheckpointMismatch, match=r"file\.pth does not fit Linear"):
        load_checkpoint(network, tmp_path / "file.pth")


def test_a_device_that_is_not_there_is_said(
    monkeypatch: pytest.MonkeyPatch, torch: ModuleType
) -> None:
    from gpu_service.runtimes.torch_runtime import choose_device

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto").type == "cpu"
    with pytest.raises(EngineUnavailable) as refused:
        choose_device("cuda")
    assert "GPU_DEVICE" in refused.value.hint
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device("auto").type == "cuda"
    assert choose_device("cpu").type == "cpu"
