"""What runs networks: PyTorch, OpenVINO or ONNX Runtime, on this device, at this precision."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from contracts.errors import CheckpointMismatch

TORCH_LINE = "python -m pip install torch==2.13.0"
OPENVINO_LINE = (
    "python -m pip install --no-deps --require-hashes -r requirements/gpu_service-openvino.txt"
)
EXPORT_LINE = (
    "python -m pip install --no-deps --require-hashes -r requirements/gpu_service-export.txt"
)


class Signature(NamedTuple):
    """What a network takes and gives: names and shapes, these without the batch."""

    inputs: Mapping[str, tuple[int, ...]]
    outputs: Mapping[str, tuple[int, ...]]

    def require(
        self, name: str, inputs: Sequence[tuple[int, ...]], outputs: Sequence[tuple[int, ...]]
    ) -> None:
        """Refuse a file whose network is another one.

        Args:
            name: Of the file.
            inputs: The shapes that its network takes.
            outputs: Those that it gives.

        Raises:
            CheckpointMismatch: They differ from this signature.
        """
        wanted = (list(self.inputs.values()), list(self.outputs.values()))
        for verb, found, own in zip(("takes", "gives"), (inputs, outputs), wanted, strict=True):
            if list(found) != own:
                raise CheckpointMismatch(
                    f"the network in {name} {verb} {_shapes(found)} instead of {_shapes(own)}",
                    hint="An export of another version of this program is to be made again: "
                    "python -m gpu_service export --help",
                )


def _shapes(shapes: Sequence[tuple[int, ...]]) -> str:
    return ", ".join("x".join(str(side) for side in shape) for shape in shapes) or "nothing"


class Network(Protocol):
    """A network that is ready to run; several threads may call it."""

    def __call__(self, *inputs: Any) -> tuple[Any, ...]:
        """Run it on one batch.

        Args:
            inputs: Arrays of NumPy, float32, or what a network of the same runtime gave.

        Returns:
            Arrays of the runtime's own kind, where they were computed.
        """


class Runtime(Protocol):
    """Where networks run."""

    @property
    def name(self) -> str:
        """`torch`, `openvino` or `onnx`."""

    @property
    def device(self) -> str:
        """`cpu` or `cuda`."""

    @property
    def precision(self) -> str:
        """`fp32`, `bf16`, `fp16` or `int8`."""

    def to_numpy(self, array: Any) -> NDArray[np.float32]:
        """What a network gave, as float32 in this process's memory."""
