"""Wav2Lip's generator on the runtime that suits: from an installed file to drawn mouths."""

import logging
import threading
from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from contracts.errors import EngineUnavailable
from gpu_service.engines.wav2lip.paste import CpuPainter, Painter
from gpu_service.engines.wav2lip.preprocess import Floats
from gpu_service.runtimes.base import (
    EXPORT_LINE,
    OPENVINO_LINE,
    TORCH_LINE,
    Network,
    Runtime,
    Signature,
)
from gpu_service.settings import Compute, Device
from gpu_service.weights.exports import Export, read_export

if TYPE_CHECKING:
    from gpu_service.runtimes.torch_runtime import TorchRuntime

log = logging.getLogger(__name__)

PartName = Literal["face", "mouth", "whole"]
ANYWHERE: Final = Compute()
Seen = tuple[Any, ...]
"""What the generator has made of faces, in the runtime's own kind of arrays."""

_MEL: Final = {"mel": (1, 80, 16)}
_FACES: Final = {"faces": (6, 96, 96)}
_SEEN: Final = {
    "face0": (512, 3, 3),
    "face1": (512, 6, 6),
    "face2": (384, 10, 12),
    "face3": (256, 16, 24),
    "face4": (128, 28, 48),
    "face5": (64, 52, 96),
    "face6": (32, 49, 96),
}
SIGNATURES: Final[Mapping[PartName, Signature]] = {
    "face": Signature(_FACES, _SEEN),
    "mouth": Signature(_MEL | _SEEN, {"mouths": (3, 48, 96)}),
    "whole": Signature(_MEL | _FACES, {"drawn": (3, 96, 96)}),
}
"""Of the networks that draw: `face` does once what a face needs, `mouth` draws its lower half for
windows of speech; `whole` is the published network."""


class Generator:
    """Draws faces that speak.

    Args:
        runtime: What its networks run on.
        network: Makes one of its networks ready; asked once for each.
        painter: Makes what paints on this runtime; None paints on the CPU.
    """

    def __init__(
        self,
        runtime: Runtime,
        network: Callable[[PartName], Network],
        painter: Callable[[], Painter] | None = None,
    ) -> None:
        self.runtime = runtime
        self.painter: Callable[[], Painter] = painter or partial(CpuPainter, runtime.to_numpy)
        """Makes a painter for one render, which may keep what a face needs."""
        self._network = network
        # Made ready now: whoever opens a file learns at once whether it is of use.
        self._face, self._mouth = network("face"), network("mouth")
        self._whole: Network | None = None
        self._lock = threading.Lock()

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
        return self.runtime.to_numpy(self.mouths(mel, seen))

    def mouths(self, mel: Floats, seen: Seen) -> Any:
        """What `draw_mouths` gives, in the runtime's own kind of array, where it was drawn."""
        return self._mouth(mel, *seen)[0]

    def draw_faces(self, mel: Floats, faces: Floats) -> Floats:
        """Draw whole faces, as the published program does.

        Returns:
            (B, 3, 96, 96) BGR in [0, 1].
        """
        with self._lock:
            if self._whole is None:
                self._whole = self._network("whole")
        return self.runtime.to_numpy(self._whole(mel, faces)[0])


def load_generator(path: Path, compute: Compute = ANYWHERE) -> Generator:
    """The generator with the weights of an installed file.

    Args:
        path: A checkpoint, or the folder of an export.
        compute: Where and how it is to run.

    Raises:
        CheckpointMismatch: The file holds something else.
        EngineUnavailable: A library is not installed, or there is no such device.
    """
    if path.is_dir():
        return _load_export(path, compute)
    _require("torch", "PyTorch", TORCH_LINE)
    from gpu_service.engines.wav2lip.split_network import load_parts
    from gpu_service.runtimes.torch_runtime import TorchRuntime, choose_device

    device, runtime, precision = compute
    if runtime == "onnx":
        raise EngineUnavailable(
            "ONNX Runtime runs exported networks only",
            hint="Run: python -m gpu_service export wav2lip --to onnx; then weights add FOLDER.",
        )
    if runtime == "openvino":
        _refuse_cuda(device)
    if runtime == "auto":
        on_cpu = choose_device(device).type == "cpu"
        runtime = "openvino" if on_cpu and _openvino_works() else "torch"
    if runtime == "torch":
        parts = load_parts(path)
        torch = TorchRuntime(device, precision)
        return Generator(
            torch, lambda name: torch.compile(parts[name].module), _torch_painter(torch)
        )
    _require("openvino", "OpenVINO", OPENVINO_LINE)
    from gpu_service.runtimes.openvino_runtime import OpenVinoRuntime

    vino = OpenVinoRuntime(precision)
    parts = load_parts(path, tiled=True)
    generator = Generator(
        vino, lambda name: vino.compile(*(parts.pop(name, None) or load_parts(path)[name]))
    )
    # OpenVINO has its own copy of what it runs; `whole` is read again if it is ever asked for.
    parts.clear()
    return generator


def _torch_painter(torch: "TorchRuntime") -> Callable[[], Painter] | None:
    if torch.device == "cpu":
        return None
    from gpu_service.engines.wav2lip.paste_network import CardPainter

    return partial(CardPainter, torch)


def _load_export(folder: Path, compute: Compute) -> Generator:
    export = read_export(folder)
    precision = _precision(export, compute)
    if _reader(export, compute) == "onnx":
        _require("onnxruntime", "ONNX Runtime", EXPORT_LINE)
        from gpu_service.runtimes.onnx_runtime import OnnxRuntime

        onnx = OnnxRuntime(compute.device, precision)
        return Generator(
            onnx, lambda name: onnx.read(folder / export.opened(name), SIGNATURES[name])
        )
    _refuse_cuda(compute.device)
    _require("openvino", "OpenVINO", OPENVINO_LINE)
    from gpu_service.runtimes.openvino_runtime import OpenVinoRuntime

    vino = OpenVinoRuntime(precision)
    return Generator(vino, lambda name: vino.read(folder / export.opened(name), SIGNATURES[name]))


def _reader(export: Export, compute: Compute) -> Literal["openvino", "onnx"]:
    """What reads an export: its own runtime, but OpenVINO reads ONNX too."""
    if compute.runtime == "torch" or (compute.runtime == "onnx" and export.format != "onnx"):
        raise EngineUnavailable(
            f"{export.weights} is installed as an export to {export.format}, which "
            f"{compute.runtime} does not read",
            hint="Set GPU_RUNTIME=auto, or install the checkpoint.",
        )
    if compute.runtime != "auto":
        return compute.runtime
    alone = find_spec("onnxruntime") is None and find_spec("openvino") is not None
    return "openvino" if alone else export.format


def _precision(export: Export, compute: Compute) -> str:
    """What an export computes in: what it was made for, unless the operator chose otherwise."""
    if compute.precision in ("auto", export.precision):
        return export.precision
    if export.precision == "int8":
        raise EngineUnavailable(
            f"{export.weights} is installed as an export in int8, which can't compute in "
            f"{compute.precision}",
            hint="Set GPU_PRECISION=auto, or install another export.",
        )
    return compute.precision


def _openvino_works() -> bool:
    if find_spec("openvino") is None:
        return False
    try:
        import_module("gpu_service.runtimes.openvino_runtime")
    except (ImportError, OSError) as error:
        log.warning("OpenVINO is installed but broken, so PyTorch runs the network: %s", error)
        return False
    return True


def _refuse_cuda(device: Device) -> None:
    if device == "cuda":
        raise EngineUnavailable(
            "OpenVINO runs on the CPU",
            hint="Set GPU_DEVICE=auto; or install the checkpoint, with GPU_RUNTIME=auto.",
        )


def _require(module: str, name: str, line: str) -> None:
    if find_spec(module) is None:
        raise EngineUnavailable(f"{name} is not installed", hint=f"Run: {line}")
