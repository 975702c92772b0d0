"""From an installed file to the networks that draw."""

import contextlib
import threading
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from contracts.errors import EngineUnavailable
from gpu_service.engines.wav2lip import generator as module
from gpu_service.engines.wav2lip.generator import Generator, PartName, load_generator
from gpu_service.runtimes.base import Network
from gpu_service.settings import Compute
from tests.fakes.generator import FakeRuntime
from tests.parity_weights import seeded_checkpoint


def test_a_network_is_made_ready_once_also_when_threads_ask_for_it_together() -> None:
    made: list[PartName] = []
    both = threading.Barrier(2)

    def network(name: PartName) -> Network:
        made.append(name)
        if name == "whole":
            with contextlib.suppress(threading.BrokenBarrierError):
                both.wait(timeout=0.3)
        return lambda *inputs: inputs[-1:]

    generator = Generator(FakeRuntime(), network)
    assert made == ["face", "mouth"]
    faces = np.zeros((1, 6, 96, 96), np.float32)
    threads = [threading.Thread(target=generator.draw_faces, args=(faces, faces)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert made == ["face", "mouth", "whole"]


def test_openvino_on_a_cuda_card_is_refused_before_the_checkpoint_is_read(
    torch: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: name)
    with pytest.raises(EngineUnavailable, match="OpenVINO runs on the CPU") as refused:
        load_generator(tmp_path / "nothing.pth", Compute("cuda", "openvino"))
    assert "GPU_DEVICE=auto" in refused.value.hint


def test_an_openvino_that_is_broken_leaves_the_network_to_pytorch(
    torch: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(name: str) -> ModuleType:
        raise ImportError(f"{name}: a library is gone")

    checkpoint = seeded_checkpoint(tmp_path / "wav2lip.pth")
    monkeypatch.setattr(module, "import_module", broken)
    assert load_generator(checkpoint, Compute("cpu")).runtime.name == "torch"
