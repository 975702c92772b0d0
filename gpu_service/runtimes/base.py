"""What runs networks: PyTorch, OpenVINO or ONNX Runtime, on this device, at this precision."""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

TORCH_LINE = "python -m pip install torch==2.13.0"
OPENVINO_LINE = (
    "python -m pip install --no-deps --require-hashes -r requirements/gpu_service-openvino.txt"
)


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
