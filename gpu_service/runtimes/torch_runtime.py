"""Networks in PyTorch: their checkpoints, and how they are run."""

import pickle
import struct
import threading
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from contracts.errors import CheckpointMismatch, EngineUnavailable
from gpu_service.runtimes.torchscript import is_torchscript, read_torchscript
from gpu_service.settings import Device, Precision

# Else cuDNN rounds what it multiplies in fp32 to 10 bits on cards that have TF32.
torch.backends.cudnn.allow_tf32 = False

MAX_GRAPHS: Final = 16
"""How many shapes of inputs a network on a CUDA card is recorded for."""
WARM_UPS: Final = 3
_RECORDING: Final = threading.Lock()
"""PyTorch records one graph at a time in a process, whichever network's it is."""
_DTYPES: Final = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
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
    """PyTorch on one device.

    Args:
        device: `auto` takes a CUDA card where there is one.
        precision: `auto` is fp16 on a CUDA card, and fp32 elsewhere.

    Raises:
        EngineUnavailable: There is no such device, or it does not compute at this precision.
    """

    name: Final = "torch"

    def __init__(self, device: Device = "auto", precision: Precision = "auto") -> None:
        found = choose_device(device)
        self.device: str = found.type
        if precision == "auto":
            precision = "fp16" if found.type == "cuda" else "fp32"
        if precision == "fp16" and found.type == "cpu":
            raise EngineUnavailable(
                "fp16 needs a CUDA card", hint="Set GPU_PRECISION to bf16, or to fp32."
            )
        self.precision: str = precision

    def compile(self, network: nn.Module) -> "TorchNetwork":
        """Take over a network, at this runtime's device and precision."""
        return TorchNetwork(network, self.device, _DTYPES[self.precision])

    def to_numpy(self, array: torch.Tensor) -> NDArray[np.float32]:
        """What a network gave, as float32 in this process's memory."""
        return self.fetch([array.float()])[0]

    def place(self, array: NDArray[np.float32] | torch.Tensor) -> torch.Tensor:
        """An array as float32 on the device; nobody waits until it is there."""
        return _moved(array, self.device, torch.float32)

    def fetch(self, tensors: Sequence[torch.Tensor]) -> list[NDArray[Any]]:
        """Results of one type, in this process's memory: one copy, and the only wait for them."""
        host = self._to_host(torch.cat([tensor.flatten() for tensor in tensors]))
        ends = np.cumsum([tensor.numel() for tensor in tensors])
        return [
            part.reshape(tensor.shape)
            for part, tensor in zip(np.split(host, ends[:-1]), tensors, strict=True)
        ]

    def _to_host(self, tensor: torch.Tensor) -> NDArray[Any]:
        if self.device != "cuda":
            return tensor.cpu().numpy()
        # The card writes into pinned memory by itself. The array keeps its tensor, so that nothing
        # else is written there while anyone has it.
        host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        host.copy_(tensor, non_blocking=True)
        # This thread sleeps until the copy is done: others need the core to decode and encode.
        done = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
        done.record()
        done.synchronize()
        return host.numpy()


class TorchNetwork:
    """A network on a device; several threads may call it.

    On a CUDA card, all work of one call is recorded once for each shape of its inputs, as a CUDA
    graph, and then replayed: a small network would wait for the launch of its many kernels.

    Args:
        network: Takes tensors; it belongs to this object from here on.
        device: Where it runs.
        dtype: What it computes in.
    """

    def __init__(self, network: nn.Module, device: str, dtype: torch.dtype) -> None:
        self._network = network.eval().to(device, dtype)
        if dtype != torch.float32:  # kernels of half precision want each pixel's channels together
            self._network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._device, self._dtype = device, dtype
        self._graphs: dict[tuple[torch.Size, ...], _Graph] = {}
        self._lock = threading.Lock()

    def __call__(self, *inputs: NDArray[np.float32] | torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Run the network on one batch, in the order of its `forward`."""
        with torch.inference_mode():
            tensors = [_moved(each, self._device, self._dtype) for each in inputs]
            if self._device == "cpu":
                return _as_tuple(self._network(*tensors))
            return self._replay(tensors)

    def _replay(self, tensors: list[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        shapes = tuple(tensor.shape for tensor in tensors)
        with self._lock:  # a graph's inputs and outputs are places in memory
            if shapes not in self._graphs:
                if len(self._graphs) >= MAX_GRAPHS:
                    self._graphs.pop(next(iter(self._graphs)))
                with _RECORDING:
                    self._graphs[shapes] = _Graph(self._network, tensors)
            return self._graphs[shapes].replay(tensors)


class _Graph:
    """What a network does with inputs of these shapes, recorded."""

    def __init__(self, network: nn.Module, tensors: list[torch.Tensor]) -> None:
        self._inputs = [tensor.clone() for tensor in tensors]
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):  # libraries choose their kernels and memory before recording
            for _ in range(WARM_UPS):
                network(*self._inputs)
        torch.cuda.current_stream().wait_stream(side)
        self._graph = torch.cuda.CUDAGraph()
        # Other threads may use the card meanwhile.
        with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
            self._outputs = _as_tuple(network(*self._inputs))

    def replay(self, tensors: list[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        """The outputs for these inputs, in memory of their own."""
        for place, tensor in zip(self._inputs, tensors, strict=True):
            place.copy_(tensor, non_blocking=True)
        self._graph.replay()
        return tuple(output.clone() for output in self._outputs)


def _moved(
    array: NDArray[np.float32] | torch.Tensor, device: str, dtype: torch.dtype
) -> torch.Tensor:
    tensor = torch.as_tensor(array)
    if device == "cuda" and tensor.device.type == "cpu":
        # From other memory, the copy might wait for all that the card has still to do. In half
        # precision there is half as much to send.
        tensor = tensor.to(dtype).pin_memory()
    return tensor.to(device, dtype, non_blocking=True)


def _as_tuple(output: torch.Tensor | Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
    return (output,) if isinstance(output, torch.Tensor) else tuple(output)
