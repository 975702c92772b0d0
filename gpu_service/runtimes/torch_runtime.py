"""Networks in PyTorch: their checkpoints, and how they are run."""

import pickle
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from contracts.errors import CheckpointMismatch, EngineUnavailable
from gpu_service.runtimes.torchscript import is_torchscript, read_torchscript

Device = Literal["auto", "cpu", "cuda"]

SHOWN: Final = 3
"""How many differing tensors an error names."""
_TELLTALES: Final = {
    "binary_pred.": "Wav2Lip's quality discriminator, which only training needs",
    "face_decoder_blocks.": "the Wav2Lip generator",
    "face_encoder.": "Wav2Lip's SyncNet (lipsync_expert)",
    "conv3_3_norm.": "the face detector S3FD",
}
"""What a checkpoint is, by how a key of it begins."""
_UNREADABLE: Final = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    SafetensorError,
    TypeError,
    ValueError,
    pickle.UnpicklingError,
    struct.error,
    zipfile.BadZipFile,
)
"""What the readers raise at damaged files, of which they believe every byte."""


def load_state_dict(path: Path) -> dict[str, torch.Tensor]:
    """The weights in a file, by their names in the network.

    Reads what `torch.save` wrote (a bare state dict, or a training checkpoint, of which only
    `state_dict` is taken), TorchScript archives and safetensors. Runs nothing of the file.

    Raises:
        CheckpointMismatch: The file is damaged, or holds something other than weights.
        OSError: The file can't be read.
    """
    with path.open("rb") as file:
        start = file.read(9)
    try:
        found = _read(path, start)
    except _UNREADABLE as error:
        raise CheckpointMismatch(
            f"{path.name} is damaged, cut short, or holds something other than weights"
        ) from error
    if isinstance(found, Mapping) and isinstance(found.get("state_dict"), Mapping):
        found = found["state_dict"]
    if not isinstance(found, Mapping) or not found:
        raise CheckpointMismatch(f"{path.name} holds no weights")
    for key, value in found.items():
        if not isinstance(key, str) or not isinstance(value, torch.Tensor):
            raise CheckpointMismatch(f"{path.name} holds {str(key)[:80]!r}, which is no tensor")
    # nn.DataParallel, in which many networks are trained, puts `module.` before every name.
    return {key.removeprefix("module."): value for key, value in found.items()}


def _read(path: Path, start: bytes) -> object:
    if start[8:] == b"{":  # eight bytes of length, then JSON
        return load_file(path)
    if is_torchscript(path):
        return read_torchscript(path)
    return torch.load(path, map_location="cpu", weights_only=True)


def load_checkpoint(network: nn.Module, path: Path) -> None:
    """Fill the network with the weights of a file.

    Raises:
        CheckpointMismatch: The file does not hold exactly this network's weights.
        OSError: The file can't be read.
    """
    weights, own = load_state_dict(path), network.state_dict()
    differences = _differences(weights, own)
    if differences:
        raise CheckpointMismatch(
            f"{path.name} does not fit {type(network).__name__}: "
            + "; ".join([*differences, *_what_it_is(weights, own)])
        )
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:  # sparse tensors, say, or tensors without data
        raise CheckpointMismatch(
            f"{path.name} does not fit {type(network).__name__}: it holds tensors of another kind"
        ) from error


def _differences(weights: Mapping[str, torch.Tensor], own: Mapping[str, torch.Tensor]) -> list[str]:
    shapes = [
        f"{key} is {tuple(weights[key].shape)} instead of {tuple(own[key].shape)}"
        for key in own
        if key in weights and weights[key].shape != own[key].shape
    ]
    kinds = {
        "missing": [key for key in own if key not in weights],
        "unexpected": [key for key in weights if key not in own],
        "of another shape": shapes,
    }
    return [
        f"{len(each)} {kind}: {', '.join(each[:SHOWN])}{', …' * (len(each) > SHOWN)}"
        for kind, each in kinds.items()
        if each
    ]


def _what_it_is(weights: Mapping[str, torch.Tensor], own: Mapping[str, torch.Tensor]) -> list[str]:
    for start, what in _TELLTALES.items():
        if any(key.startswith(start) for key in weights):
            if any(key.startswith(start) for key in own):
                return []
            return [f"the file looks like {what}"]
    return []


def choose_device(wanted: Device) -> torch.device:
    """The device to run on; `auto` takes a CUDA card where there is one.

    Raises:
        EngineUnavailable: `cuda` is wanted and there is none.
    """
    found = torch.cuda.is_available()
    if wanted == "cuda" and not found:
        raise EngineUnavailable(
            "torch finds no CUDA card", hint="Set GPU_DEVICE=auto, or install torch for CUDA."
        )
    return torch.device("cuda" if found and wanted != "cpu" else "cpu")


class TorchRuntime:
    """A network with its weights on a device.

    Args:
        network: Takes tensors and gives one tensor; it belongs to the runtime from here on.
        path: Its checkpoint.
        device: Where to run it.

    Raises:
        CheckpointMismatch: The file does not hold this network's weights.
        EngineUnavailable: There is no such device.
    """

    def __init__(self, network: nn.Module, path: Path, device: Device = "auto") -> None:
        self.device = choose_device(device)
        load_checkpoint(network, path)
        self._network = network.eval().to(self.device)

    def __call__(self, *arrays: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run the network on one batch, in the order of its `forward`."""
        with torch.inference_mode():
            tensors = [torch.from_numpy(array).to(self.device) for array in arrays]
            result: NDArray[np.float32] = self._network(*tensors).cpu().numpy()
        return result

    def outputs(self, *arrays: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        """Run a network that gives several tensors on one batch."""
        with torch.inference_mode():
            tensors = [torch.from_numpy(array).to(self.device) for array in arrays]
            return tuple(each.cpu().numpy() for each in self._network(*tensors))
