"""Networks of PyTorch as ONNX files, also in int8."""

import logging
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_static,
)

from gpu_service.runtimes.base import Signature

if TYPE_CHECKING:
    from torch import nn

onnxruntime.disable_telemetry_events()  # its builds for Windows would report their use

OPSET: Final = 17
"""Of 2022; what reads ONNX today reads it."""
Inputs = dict[str, NDArray[np.float32]]


def write(
    module: "nn.Module",
    signature: Signature,
    stem: Path,
    samples: Sequence[Sequence[NDArray[np.float32]]] = (),
) -> None:
    """Write a network into one file.

    Args:
        module: The network.
        signature: Its own.
        stem: The file's path, but for `.onnx`.
        samples: Batches of inputs; with any, the network computes in int8.
    """
    file = stem.with_suffix(".onnx")
    examples = tuple(torch.zeros(2, *shape) for shape in signature.inputs.values())
    with warnings.catch_warnings():
        # PyTorch deprecates the exporter that reads traces. Its new one needs three more packages,
        # and fixes whether one face or several are given.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", UserWarning)  # constants that it does not simplify
        torch.onnx.export(
            module,
            examples,
            file,
            dynamo=False,
            input_names=[*signature.inputs],
            output_names=[*signature.outputs],
            # Batches of any size, of each input for itself: one face may be given for all windows.
            dynamic_axes={name: [0] for name in (*signature.inputs, *signature.outputs)},
            opset_version=OPSET,
        )
    if samples:
        _quantise(file, [dict(zip(signature.inputs, each, strict=True)) for each in samples])


def _quantise(file: Path, samples: Sequence[Inputs]) -> None:
    with tempfile.TemporaryDirectory(dir=file.parent) as folder, _without_warnings():
        plain = file.replace(Path(folder) / file.name)
        quantize_static(
            plain,
            file,
            _Reader(samples),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Spare people the quantiser's advice, which it gives to the root logger."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    """Hands out the samples one by one."""

    def __init__(self, samples: Sequence[Inputs]) -> None:
        self._left: Iterator[Inputs] = iter(samples)

    def get_next(self) -> Any:
        """The next sample; None after the last."""
        return next(self._left, None)


def libraries(*, quantised: bool) -> dict[str, str]:
    """Versions of what writes the files."""
    versions = {"torch": torch.__version__, "onnx": onnx.__version__}
    return versions | ({"onnxruntime": onnxruntime.__version__} if quantised else {})
