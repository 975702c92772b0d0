"""Wav2Lip on a card: patches are those of the CPU, and come back in one copy a batch.

A CPU stands for the card where patches are compared. Where copies are counted, torch's device
`meta` does, which computes shapes and no values: whoever waits for a value there gets an error.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from contracts.lipsync import LipSyncOptions
from gpu_service.data import FacePatch, FaceTrack, SpeechChunk, no_progress
from gpu_service.engines.wav2lip.engine import Wav2LipEngine
from gpu_service.engines.wav2lip.generator import load_generator
from gpu_service.engines.wav2lip.paste import CpuPainter
from gpu_service.faces.track import track_faces
from gpu_service.settings import Compute
from gpu_service.weights.registry import weights_named
from gpu_service.weights.store import WeightsStore
from tests.fakes.generator import FakeGenerators, installed
from tests.media import Film, Photo, babble, cut, portrait, scaled
from tests.parity_weights import seeded_checkpoint

pytestmark = pytest.mark.usefixtures("torch")

PLAIN = LipSyncOptions()
SPEECH = SpeechChunk(babble(1.0))
TRACKS: dict[str, Callable[[Fraction], FaceTrack]] = {
    "photo": lambda fps: track_faces(Photo(scaled(portrait(), 2)), fps, PLAIN, no_progress),
    "video": lambda fps: track_faces(Film(*_moving()), fps, PLAIN, no_progress),
}


def _moving() -> Iterator[np.ndarray]:
    """The portrait, coming nearer and leaving the picture, and once gone."""
    for scale, across in ((1.0, 0), (1.3, 0), (2.0, 180), (2.0, 250)):
        yield np.roll(scaled(portrait(), scale)[:512, :512], -across, axis=1)
    yield np.full((512, 512, 3), 128, np.uint8)


def drawn(engine: Wav2LipEngine, track: FaceTrack, chunks: list[SpeechChunk]) -> list[FacePatch]:
    return list(engine.render(engine.prepare(track, PLAIN, no_progress), chunks, PLAIN))


@pytest.mark.parametrize("fps", [10, 25, 60])
@pytest.mark.parametrize("kind", TRACKS)
def test_patches_are_those_of_the_cpu_however_the_speech_is_cut(
    kind: str, fps: int, tmp_path: Path
) -> None:
    from gpu_service.engines.wav2lip.paste_network import CardPainter
    from gpu_service.runtimes.torch_runtime import TorchRuntime

    track, store = TRACKS[kind](Fraction(fps)), installed(tmp_path, "wav2lip")
    card = partial(CardPainter, TorchRuntime("cpu"))
    expected, whole, pieces = (
        drawn(Wav2LipEngine(store, load=FakeGenerators(painter).load), track, chunks)
        for painter, chunks in (
            (None, [SPEECH]),
            (card, [SPEECH]),
            (card, list(cut(SPEECH, [77, 1600]))),
        )
    )
    assert len(expected) == len(whole) == len(pieces) == (fps if kind == "photo" else fps * 4 // 5)
    for own, once, often in zip(expected, whole, pieces, strict=True):
        assert own[:2] == once[:2] == often[:2]
        np.testing.assert_array_equal(own.alpha, once.alpha)
        np.testing.assert_array_equal(once.pixels, often.pixels)
        assert np.abs(own.pixels.astype(int) - once.pixels).max() <= 1


@pytest.fixture
def copies(torch: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Counts copies to and from `meta`, which stands for the card."""
    from gpu_service.runtimes import torch_runtime

    counted: Counter[str] = Counter()

    def to_host(_runtime: object, tensor: Any) -> np.ndarray:
        assert tensor.device.type == "meta"
        counted[f"back, {tensor.dtype}"] += 1
        return np.zeros(tuple(tensor.shape), np.uint8)

    def moved(array: Any, *where: Any) -> Any:
        if torch.as_tensor(array).device.type == "cpu":
            counted["up"] += 1
        return original(array, *where)

    class Unrecorded:
        def __init__(self, network: Any, _tensors: object) -> None:
            self.replay = lambda tensors: torch_runtime._as_tuple(network(*tensors))

    original = torch_runtime._moved
    monkeypatch.setattr(torch_runtime, "_Graph", Unrecorded)
    monkeypatch.setattr(torch_runtime, "_moved", moved)
    monkeypatch.setattr(torch_runtime, "choose_device", lambda _: torch.device("meta"))
    monkeypatch.setattr(torch_runtime.TorchRuntime, "_to_host", to_host)
    return counted


NUM_CONSTANTS = 5


@pytest.mark.parametrize(
    ("kind", "fps", "batches", "up"),
    [
        # A photo's face and constants go up once, then only what is heard.
        ("photo", 25, 9, 1 + NUM_CONSTANTS + 9),
        ("photo", 10, 10, 1 + NUM_CONSTANTS + 10),
        ("photo", 60, 10, 1 + NUM_CONSTANTS + 10),
        # Of a video, each frame has its own; the last batch is one frame, which shows no face.
        ("video", 25, 8, 8 + NUM_CONSTANTS * 20 + 8),
    ],
)
def test_one_copy_a_batch_comes_back_and_nothing_waits_before_it(
    kind: str, fps: int, batches: int, up: int, copies: Counter[str], tmp_path: Path
) -> None:
    store = WeightsStore(tmp_path / "installed")
    checkpoint = seeded_checkpoint(tmp_path / "wav2lip.pth", "safetensors")
    store.add(checkpoint, weights_named("wav2lip"), lambda _weights, _path: None, accepted=True)
    engine = Wav2LipEngine(store, Compute("auto", "torch", "fp16"), load_generator)
    patches = drawn(engine, TRACKS[kind](Fraction(fps)), [SPEECH])
    assert len(patches) == (fps if kind == "photo" else fps * 4 // 5)
    assert copies == {"back, torch.uint8": batches, "up": up}


def test_a_cpu_keeps_its_own_way(tmp_path: Path) -> None:
    checkpoint = seeded_checkpoint(tmp_path / "wav2lip.pth", "safetensors")
    generator = load_generator(checkpoint, Compute("cpu", "torch"))
    assert isinstance(generator.painter(), CpuPainter)
