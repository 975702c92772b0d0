"""Exports of Wav2Lip's generator with seeded weights, made once for all tests that ask for them."""

import contextlib
import io
import os
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

from gpu_service.cli import main
from gpu_service.weights.exports import Format
from gpu_service.weights.registry import weights_named
from gpu_service.weights.store import WeightsStore
from tests.parity_weights import seeded_checkpoint

LIBRARIES = {"openvino": ("openvino",), "onnx": ("onnx", "onnxruntime")}


def require_libraries(*names: str) -> None:
    """Skip the test where one is not installed, or fail where continuous integration runs it."""
    missing = [name for name in names if find_spec(name) is None]
    if missing:
        words = f"{', '.join(missing)} is not installed"
        if os.environ.get("CI") == "true":
            pytest.fail(words)
        pytest.skip(words)


class Exports:
    """What the command wrote, by format.

    Args:
        folder: Empty.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.checkpoint = seeded_checkpoint(folder / "wav2lip.pth", "safetensors")
        self.store = WeightsStore(folder / "installed")
        weights = weights_named("wav2lip")
        self.store.add(self.checkpoint, weights, lambda _weights, _path: None, accepted=True)
        self.made = cache(self._made)

    def _made(self, to: Format) -> tuple[Path, str]:
        """The folder in fp32, and what was said."""
        require_libraries(*LIBRARIES[to])
        folder = self.folder / f"wav2lip-{to}-fp32"
        with (
            pytest.MonkeyPatch.context() as patch,
            contextlib.redirect_stdout(io.StringIO()) as said,
        ):
            patch.setenv("GPU_WEIGHTS_DIR", str(self.store.folder))
            assert main(["export", "wav2lip", "--to", to, "-o", str(folder)]) == 0
        return folder, said.getvalue()
