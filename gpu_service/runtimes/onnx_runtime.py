"""Networks in ONNX Runtime: exported ones, on a CPU or a CUDA card."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as state

from contracts.errors import CheckpointMismatch, EngineUnavailable
from gpu_service.runtimes.base import Signature
from gpu_service.settings import Device

onnxruntime.disable_telemetry_events()  # its builds for Windows would report their use

_CUDA: Final = "CUDAExecutionProvider"
_ERRORS_ONLY: Final = 3
_UNREADABLE: Final = (
    state.Fail,
    state.InvalidArgument,
    state.InvalidGraph,
    state.InvalidProtobuf,
    state.NoModel,
    state.NotImplemented,
    state.RuntimeException,
    UnicodeDecodeError,
)
"""What it raises at files that hold no network which it can run; they have no base in common."""


class OnnxRuntime:
    """ONNX Runtime on one device.

    Args:
        device: `auto` takes a CUDA card where the installed build knows one.
        precision: That of the files it will read: `fp32` or `int8`.

    Raises:
        EngineUnavailable: It does not run there, or not at this precision.
    """

    name: Final = "onnx"

    def __init__(self, device: Device = "auto", precision: str = "fp32") -> None:
        able = _CUDA in onnxruntime.get_available_providers()
        if device == "cuda" and not able:
            raise EngineUnavailable(
                "the installed ONNX Runtime runs on CPUs only",
                hint="Set GPU_DEVICE=auto, or install onnxruntime-gpu in its place.",
            )
        if precision not in ("fp32", "int8"):
            raise EngineUnavailable(
                f"ONNX Runtime does not compute in {precision}", hint="Set GPU_PRECISION=auto."
            )
        self.device: str = "cuda" if able and device != "cpu" else "cpu"
        self.precision = precision
        self._wanted = device

    def read(self, path: Path, signature: Signature) -> "OnnxNetwork":
        """Make a network in a file ready to run.

        Raises:
            CheckpointMismatch: The file is damaged, or holds a network of another kind.
        """
        options = onnxruntime.SessionOptions()
        options.log_severity_level = _ERRORS_ONLY
        # Its threads would spin while they wait, on the cores that decode and encode frames.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        providers = [_CUDA] * (self.device == "cuda") + ["CPUExecutionProvider"]
        try:
            session = onnxruntime.InferenceSession(path, options, providers=providers)
            inputs, outputs = _shapes(session.get_inputs()), _shapes(session.get_outputs())
        except _UNREADABLE as error:
            raise CheckpointMismatch(f"{path.name} is damaged, or holds no network") from error
        signature.require(path.name, inputs, outputs)
        self._settle(session)
        return OnnxNetwork(session)

    def _settle(self, session: onnxruntime.InferenceSession) -> None:
        """Notice where it does run: without CUDA's own libraries it falls back to the CPU."""
        if self.device == "cuda" and _CUDA not in session.get_providers():
            if self._wanted == "cuda":
                raise EngineUnavailable(
                    "ONNX Runtime can't use the CUDA card",
                    hint="Install the CUDA and cuDNN libraries that onnxruntime-gpu names, or set "
                    "GPU_DEVICE=cpu.",
                )
            self.device = "cpu"

    def to_numpy(self, array: NDArray[np.float32]) -> NDArray[np.float32]:
        """What a network gave."""
        return array


def _shapes(ports: Sequence[Any]) -> list[tuple[int, ...]]:
    """The shapes of inputs or outputs, without the batch."""
    return [tuple(port.shape[1:]) for port in ports]


class OnnxNetwork:
    """A network that is ready to run; several threads may call it."""

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self._session = session
        self._names = [each.name for each in session.get_inputs()]

    def __call__(self, *inputs: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        """Run the network on one batch, in the order of its inputs."""
        found: list[Any] = self._session.run(None, dict(zip(self._names, inputs, strict=True)))
        return tuple(found)
