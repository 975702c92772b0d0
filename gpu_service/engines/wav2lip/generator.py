"""Wav2Lip's generator on the runtime that suits: from an installed file to drawn mouths."""

from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, Literal

from contracts.errors import EngineUnavailable
from gpu_service.engines.wav2lip.preprocess import Floats
from gpu_service.runtimes.base import (
    OPENVINO_LINE,
    TORCH_LINE,
    Network,
    Runtime,
)
from gpu_service.settings import Compute

PartName = Literal["face", "mouth", "whole"]
ANYWHERE: Final = Compute()
Seen = tuple[Any, ...]
"""What the generator has made of faces, in the runtime's own kind of arrays."""


class Generator:
    """Draws faces that speak.

    Args:
        runtime: What its networks run on.
        network: Makes one of its networks ready; asked once for each.
    """

    def __init__(self, runtime: Runtime, network: Callable[[PartName], Network]) -> None:
        self.runtime = runtime
        self._network = cache(network)
        # Made ready now: whoever opens a file learns at once whether it is of use.
        self._face, self._mouth = self._network("face"), self._network("mouth")

    def see(self, faces: Floats) -> Seen:
        """Do once what the faces need, whatever they say.

        Args:
            faces: (F, 6, 96, 96) as `preprocess.network_faces` makes them.
        """
        return self._face(faces)

    def draw_mouths(self, mel: Floats, seen: Seen) -> Floats:
        """Draw the lower halves of faces.

        Args:
            mel: (B, 1, 80, 16) windows of speech.
            seen: What `see` gave, for B faces or for one.

        Returns:
            (B, 3, 48, 96) BGR in [0, 1].
        """
        return self.runtime.to_numpy(self._mouth(mel, *seen)[0])

    def draw_faces(self, mel: Floats, faces: Floats) -> Floats:
        """Draw whole faces, as the published program does.

        Returns:
            (B, 3, 96, 96) BGR in [0, 1].
        """
        return self.runtime.to_numpy(self._network("whole")(mel, faces)[0])


def load_generator(path: Path, compute: Compute = ANYWHERE) -> Generator:
    """The generator with the weights of an installed file.

    Args:
        path: A checkpoint.
        compute: Where and how it is to run.

    Raises:
        CheckpointMismatch: The file holds something else.
        EngineUnavailable: A library is not installed, or there is no such device.
    """
    _require("torch", "PyTorch", TORCH_LINE)
    from gpu_service.engines.wav2lip.split_network import load_parts
    from gpu_service.runtimes.torch_runtime import TorchRuntime, choose_device

    device, runtime, precision = compute
    if runtime == "onnx":
        raise EngineUnavailable(
            "ONNX Runtime runs exported networks only",
            hint="Run: python -m gpu_service export wav2lip --to onnx; then weights add FOLDER.",
        )
    parts = load_parts(path)
    if runtime == "auto":
        on_cpu = choose_device(device).type == "cpu"
        runtime = "openvino" if on_cpu and find_spec("openvino") else "torch"
    if runtime == "torch":
        torch = TorchRuntime(device, precision)
        return Generator(torch, lambda name: torch.compile(parts[name].module))
    _require("openvino", "OpenVINO", OPENVINO_LINE)
    from gpu_service.runtimes.openvino_runtime import OpenVinoRuntime

    vino = OpenVinoRuntime(precision)
    return Generator(vino, lambda name: vino.compile(*parts[name]))


def _require(module: str, name: str, line: str) -> None:
    if find_spec(module) is None:
        raise EngineUnavailable(f"{name} is not installed", hint=f"Run: {line}")
