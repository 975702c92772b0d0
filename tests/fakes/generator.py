"""A stand-in for Wav2Lip's networks, and a folder in which their checkpoint is installed."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from gpu_service.engines.wav2lip.generator import Generator, PartName
from gpu_service.engines.wav2lip.paste import Painter
from gpu_service.engines.wav2lip.preprocess import Floats
from gpu_service.runtimes.base import Network
from gpu_service.settings import Compute
from gpu_service.weights.registry import weights_named
from gpu_service.weights.store import WeightsStore


class FakeRuntime:
    """Arrays of NumPy."""

    name = "fake"
    device = "cpu"
    precision = "fp32"

    def to_numpy(self, array: Floats) -> Floats:
        return array


class FakeGenerators:
    """Runs nothing: the lower half of the face grows brighter with the loudness of the window.

    Args:
        painter: Of the generators; None paints on the CPU.
    """

    def __init__(self, painter: Callable[[], Painter] | None = None) -> None:
        self.painter = painter
        self.loaded: list[Path] = []
        self.batches: list[int] = []
        self.seen: list[int] = []

    def load(self, path: Path, compute: Compute) -> Generator:
        self.loaded.append(path)
        parts: dict[PartName, Network] = {
            "face": self._see,
            "mouth": self._draw_mouths,
            "whole": self._draw_faces,
        }
        return Generator(FakeRuntime(), parts.__getitem__, self.painter)

    def _see(self, faces: Floats) -> tuple[Floats, ...]:
        assert faces.shape == (len(faces), 6, 96, 96)
        assert faces.dtype == np.float32
        self.seen.append(len(faces))
        return (faces[:, 3:, 48:],)

    def _draw_mouths(self, mel: Floats, face: Floats) -> tuple[Floats, ...]:
        assert mel.shape[1:] == (1, 80, 16)
        assert mel.dtype == np.float32
        assert len(face) in (1, len(mel))
        self.batches.append(len(mel))
        loud = (mel.mean(axis=(1, 2, 3)) + 4) / 8
        return (np.clip(face + loud[:, None, None, None], 0, 1),)

    def _draw_faces(self, mel: Floats, faces: Floats) -> tuple[Floats, ...]:
        assert len(faces) == len(mel)
        drawn = faces[:, 3:].copy()
        drawn[:, :, 48:] = self._draw_mouths(mel, drawn[:, :, 48:])[0]
        return (drawn,)


def installed(folder: Path, *names: str) -> WeightsStore:
    """A store in which these weights are installed: small files that hold nothing."""
    store = WeightsStore(folder)
    for name in names:
        file = folder / f"{name}.pth"
        file.write_bytes(name.encode())
        store.add(file, weights_named(name), lambda _weights, _path: None, accepted=True)
    return store
