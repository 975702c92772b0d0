"""Networks in OpenVINO: the fastest way to run them on a CPU."""

import functools
import threading
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import openvino
from numpy.typing import NDArray

from contracts.errors import CheckpointMismatch, EngineUnavailable
from gpu_service.runtimes.base import Signature
from gpu_service.settings import Precision

if TYPE_CHECKING:
    from torch import nn

_HINTS: Final = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}
"""What OpenVINO computes in; layers that an export has quantised stay in int8."""


class OpenVinoRuntime:
    """OpenVINO on the CPU.

    Args:
        precision: `auto` is fp32; `int8` only for exports that were quantised.

    Raises:
        EngineUnavailable: This CPU does not compute at this precision.
    """

    name: Final = "openvino"
    device: Final = "cpu"

    def __init__(self, precision: Precision | str = "auto") -> None:
        self.precision: str = "fp32" if precision == "auto" else precision
        self._core = _core()
        able: list[str] = self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        if self.precision not in _HINTS or (self.precision == "bf16" and "BF16" not in able):
            raise EngineUnavailable(
                f"OpenVINO does not compute in {self.precision} on this CPU",
                hint="Set GPU_PRECISION=fp32.",
            )

    def compile(self, module: "nn.Module", shapes: Sequence[tuple[int, ...]]) -> "OpenVinoNetwork":
        """Make a network of PyTorch ready to run here.

        Args:
            module: The network.
            shapes: Of its inputs, each without the batch, which may be of any size.
        """
        return self.load(convert(module, shapes))

    def read(self, path: Path, signature: Signature) -> "OpenVinoNetwork":
        """Make a network in a file ready to run: OpenVINO's own format, or ONNX.

        Raises:
            CheckpointMismatch: The file is damaged, or holds a network of another kind.
        """
        try:
            model = self._core.read_model(path)
            inputs, outputs = _shapes(model.inputs), _shapes(model.outputs)
        except (RuntimeError, ValueError) as error:
            raise CheckpointMismatch(f"{path.name} is damaged, or holds no network") from error
        signature.require(path.name, inputs, outputs)
        try:
            return self.load(model)
        except RuntimeError as error:  # some damage is noticed only here
            raise CheckpointMismatch(f"{path.name} is damaged, or can't be run") from error

    def load(self, model: openvino.Model) -> "OpenVinoNetwork":
        """Make OpenVINO's own kind of network ready to run."""
        settings = {
            "INFERENCE_PRECISION_HINT": _HINTS[self.precision],
            "PERFORMANCE_HINT": "LATENCY",  # all cores on one batch, for batches come one by one
        }
        return OpenVinoNetwork(self._core.compile_model(model, "CPU", settings))

    def to_numpy(self, array: NDArray[np.float32]) -> NDArray[np.float32]:
        """What a network gave."""
        return array


@functools.cache
def _core() -> openvino.Core:
    """OpenVINO itself, kept until the process ends.

    Its CPU plugin gives the thread that loads it a stack for signals, and frees that when it is
    unloaded, in whichever thread that is. The first thread's next signal, such as Ctrl-C, would
    then end the process.
    """
    return openvino.Core()


def _shapes(ports: Sequence[Any]) -> list[tuple[int, ...]]:
    """The shapes of inputs or outputs, without the batch."""
    return [tuple(side.get_length() for side in [*port.partial_shape][1:]) for port in ports]


def convert(module: "nn.Module", shapes: Sequence[tuple[int, ...]]) -> openvino.Model:
    """A network of PyTorch as OpenVINO's own kind, for batches of any size."""
    import torch

    examples = tuple(torch.zeros(2, *shape) for shape in shapes)
    with warnings.catch_warnings(), torch.no_grad():
        # PyTorch deprecates the traces that OpenVINO reads. Its new exports fix whether one face
        # or several are given.
        warnings.simplefilter("ignore", DeprecationWarning)
        # OpenVINO's own trace would run the network twice more to check it: most of the time.
        trace: Any = torch.jit.trace(  # type: ignore[no-untyped-call]
            module, examples, check_trace=False
        )
        model: openvino.Model = openvino.convert_model(trace, example_input=examples)
    model.reshape({index: [-1, *shape] for index, shape in enumerate(shapes)})
    return model


class OpenVinoNetwork:
    """A network that is ready to run; several threads may call it, one at a time runs."""

    def __init__(self, compiled: openvino.CompiledModel) -> None:
        self._outputs = compiled.outputs
        self._request = compiled.create_infer_request()
        self._lock = threading.Lock()

    def __call__(self, *inputs: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        """Run the network on one batch, in the order of its `forward`."""
        with self._lock:
            found: Any = self._request.infer(list(inputs), share_inputs=True)
            return tuple(np.asarray(found[output], np.float32) for output in self._outputs)
