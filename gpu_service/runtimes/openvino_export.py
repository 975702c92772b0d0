"""Networks of PyTorch as OpenVINO's files, also in int8."""

import contextlib
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import openvino
import torch
from numpy.typing import NDArray

from gpu_service.runtimes.base import Signature
from gpu_service.runtimes.openvino_runtime import convert

if TYPE_CHECKING:
    from torch import nn


def write(
    module: "nn.Module",
    signature: Signature,
    stem: Path,
    samples: Sequence[Sequence[NDArray[np.float32]]] = (),
) -> None:
    """Write a network into two files.

    PyTorch's network is read as it is. By way of ONNX it would be the same network, from one more
    library.

    Args:
        module: The network.
        signature: Its own.
        stem: The files' path, but for `.xml` and `.bin`.
        samples: Batches of inputs; with any, the network computes in int8.
    """
    model = convert(module, list(signature.inputs.values()))
    # Otherwise they are numbered through the process, and the same export is another file.
    model.set_friendly_name(stem.name)
    ports = zip(
        (*model.inputs, *model.outputs), (*signature.inputs, *signature.outputs), strict=True
    )
    for port, name in ports:
        port.get_tensor().set_names({name})
    if samples:
        model = _quantised(model, samples)
    openvino.save_model(model, stem.with_suffix(".xml"), compress_to_fp16=False)


def _quantised(
    model: openvino.Model, samples: Sequence[Sequence[NDArray[np.float32]]]
) -> openvino.Model:
    import nncf

    logging.getLogger("nncf").setLevel(logging.ERROR)
    with contextlib.redirect_stdout(sys.stderr):  # where its progress bars belong
        quantised: openvino.Model = nncf.quantize(
            model,
            nncf.Dataset(samples, list),
            subset_size=len(samples),
            # Sums in int8 would be no faster and round more; the CPU plugin of 2026.4 also gets
            # those wrong where one face is added for many windows of speech.
            ignored_scope=nncf.IgnoredScope(types=["Add"]),
        )
    return quantised


def libraries(*, quantised: bool) -> dict[str, str]:
    """Versions of what writes the files."""
    versions = {"torch": torch.__version__, "openvino": openvino.__version__}
    if quantised:
        import nncf

        versions["nncf"] = nncf.__version__
    return versions
