"""Weights drawn from each tensor's name and shape; what published networks make of them is known.

The same numbers come out on every machine, so that a golden file needs no checkpoint beside it.
"""

import hashlib
import json
import struct
import warnings
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

PARITY = Path(__file__).parent / "data" / "parity" / "wav2lip"

Net = Literal["wav2lip", "syncnet", "s3fd"]
StateDict = dict[str, NDArray[np.generic]]

_NORM_SCALES = {"conv3_3_norm.weight": 10.0, "conv4_3_norm.weight": 8.0, "conv5_3_norm.weight": 5.0}


@cache
def manifest(net: Net) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a published state dict, in its order."""
    listed = json.loads((PARITY / "manifest.json").read_text(encoding="utf-8"))[net]
    return {key: tuple(shape) for key, shape in listed.items()}


@cache
def seeded_state_dict(net: Net) -> StateDict:
    """A tensor for each name of the manifest. Shared between callers: don't write into it."""
    return {key: _tensor(net, key, shape) for key, shape in manifest(net).items()}


def seeded_checkpoint(
    path: Path,
    kind: Literal["dict", "torchscript", "safetensors"] = "dict",
    net: Net = "wav2lip",
) -> Path:
    """Write seeded weights as a checkpoint in one of the forms that people have.

    Args:
        path: The file to write.
        kind: As training saves it (with the prefix of its parallel wrapper and the optimizer's
            state), as a traced archive, or as safetensors.
        net: Whose weights; S3FD's only as safetensors.

    Returns:
        The path.
    """
    state = seeded_state_dict(net)
    if kind == "safetensors":
        _write_safetensors(path, state)
        return path
    import torch

    from gpu_service.engines.wav2lip.network import SyncNetColor, Wav2LipGenerator

    tensors = {key: torch.from_numpy(np.array(value)) for key, value in state.items()}
    if kind == "dict":
        content = {
            "state_dict": {f"module.{key}": value for key, value in tensors.items()},
            "optimizer": {
                "state": {0: {"step": torch.tensor(1.0)}},
                "param_groups": [{"lr": 1e-4}],
            },
            "global_step": 1,
            "global_epoch": 1,
        }
        torch.save(content, path)
        return path
    model = Wav2LipGenerator() if net == "wav2lip" else SyncNetColor()
    model.load_state_dict(tensors)
    faces = torch.zeros(1, 6, 96, 96) if net == "wav2lip" else torch.zeros(1, 15, 48, 96)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates archives, yet people have them
        traced = torch.jit.trace(model.eval(), (torch.zeros(1, 1, 80, 16), faces))
        torch.jit.save(traced, path)
    return path


def _write_safetensors(path: Path, state: StateDict) -> None:
    """Format: huggingface/safetensors, "Format" in its README."""
    header: dict[str, object] = {}
    position = 0
    for key, value in state.items():
        end = position + value.nbytes
        kind = "I64" if value.dtype == np.int64 else "F32"
        header[key] = {"dtype": kind, "shape": value.shape, "data_offsets": (position, end)}
        position = end
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for value in state.values():
            file.write(value.tobytes())


def _tensor(net: Net, key: str, shape: tuple[int, ...]) -> NDArray[np.generic]:
    leaf = key.rsplit(".", 1)[1]
    if leaf == "num_batches_tracked":
        return np.zeros(shape, np.int64)
    seed = int.from_bytes(hashlib.sha256(f"{net}:{key}".encode()).digest()[:8], "little")
    normal = np.random.Generator(np.random.PCG64(seed)).standard_normal(shape)
    if leaf == "running_mean":
        drawn = 0.1 * normal
    elif leaf == "running_var":
        drawn = np.exp(0.2 * normal)
    elif leaf == "bias":
        drawn = 0.05 * normal
    elif len(shape) == 1:
        drawn = _NORM_SCALES.get(key, 1.0) * (1.0 + 0.1 * normal)
    else:
        drawn = _kernel(net, key, normal)
    return np.asarray(drawn, np.float32)


def _kernel(net: Net, key: str, normal: NDArray[np.float64]) -> NDArray[np.float64]:
    """A convolution's weights, scaled so that signals keep their size from layer to layer.

    Each output's weights sum to zero. Otherwise biases would drown what depends on the input.
    """
    first, second, height, width = normal.shape
    if net == "wav2lip" and key.startswith("face_decoder_blocks.") and first != second:
        # Transposed: (in, out, height, width). Block 1 spreads a single pixel; the others, of
        # stride 2, hear a quarter of the kernel at each pixel.
        once = key.startswith("face_decoder_blocks.1.")
        fan_in, gain = first * (1.0 if once else height * width / 4.0), 2.0
        normal = normal - normal.mean(axis=(0, 2, 3), keepdims=True)
    else:
        fan_in = second * height * width
        residual = first == second and height == 3 and net != "s3fd"
        gain = 0.5 if residual else 2.0
        normal = normal - normal.mean(axis=(1, 2, 3), keepdims=True)
    if (net, key) == ("wav2lip", "output_block.1.weight"):
        gain = 8.0
    if (net, key) == ("s3fd", "conv1_1.weight"):
        gain = 2.0 / 64.0**2  # its pixels reach to 128, not to 1
    return normal * np.sqrt(gain / fan_in)
