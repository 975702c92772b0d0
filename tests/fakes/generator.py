"""A stand-in for Wav2Lip's network, and a folder in which its checkpoint is installed."""

from pathlib import Path

import numpy as np

from gpu_service.engines.wav2lip.engine import Generator
from gpu_service.engines.wav2lip.preprocess import Floats
from gpu_service.weights.registry import weights_named
from gpu_service.weights.store import WeightsStore


class FakeGenerators:
    """Runs nothing: the lower half of the face grows brighter with the loudness of the window."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.loaded: list[Path] = []
        self.batches: list[int] = []

    def load(self, path: Path) -> Generator:
        self.loaded.append(path)
        return self._draw

    def _draw(self, mel: Floats, faces: Floats) -> Floats:
        assert mel.shape[1:] == (1, 80, 16)
        assert faces.shape == (len(mel), 6, 96, 96)
        assert mel.dtype == faces.dtype == np.float32
        self.batches.append(len(mel))
        drawn = faces[:, 3:].copy()
        loud = (mel.mean(axis=(1, 2, 3)) + 4) / 8
        drawn[:, :, 48:] = np.clip(drawn[:, :, 48:] + loud[:, None, None, None], 0, 1)
        return drawn


def installed(folder: Path, *names: str) -> WeightsStore:
    """A store in which these weights are installed: small files that hold nothing."""
    store = WeightsStore(folder)
    for name in names:
        file = folder / f"{name}.pth"
        file.write_bytes(name.encode())
        store.add(file, weights_named(name), lambda _weights, _path: None, accepted=True)
    return store
