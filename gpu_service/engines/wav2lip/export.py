"""Wav2Lip's generator as files for OpenVINO or ONNX Runtime, and how close they come to it."""

import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Final, NamedTuple

import numpy as np

from contracts.errors import EngineError, EngineUnavailable, InvalidInput
from gpu_service.engines.wav2lip.generator import SIGNATURES, Generator, PartName, load_generator
from gpu_service.engines.wav2lip.preprocess import HIDDEN_ROW, Floats
from gpu_service.engines.wav2lip.samples import NetworkInputs, lifelike_inputs, random_inputs
from gpu_service.runtimes.base import EXPORT_LINE, TORCH_LINE
from gpu_service.settings import Compute
from gpu_service.weights.exports import (
    DESCRIPTION,
    Difference,
    Export,
    ExportPrecision,
    Format,
    sha256_of,
)
from gpu_service.weights.registry import Weights

NUM_CALIBRATION: Final = 64
"""Inputs whose ranges decide how int8 rounds."""
NUM_COMPARED: Final = 8
"""Lifelike inputs, and as many random ones, with which an export is compared with PyTorch."""
TOLERANCE: Final = 1e-4
"""Largest difference that an export in fp32 may have. Pictures are in [0, 1]; what a face gives may
be larger, and is measured by its largest value then."""

Say = Callable[[str], None]


class Request(NamedTuple):
    """What is to be exported."""

    weights: Weights
    checkpoint: Path
    checkpoint_sha256: str
    format: Format
    precision: ExportPrecision
    face: bytes
    """A photo, to compare and to quantise with."""
    speech: bytes
    """A recording, likewise."""


def refuse_impossible(to: Format, precision: ExportPrecision) -> None:
    """Say before any work what a format can't hold.

    Raises:
        InvalidInput: No such export can be made.
    """
    if (to, precision) == ("onnx", "bf16"):
        raise InvalidInput(
            "ONNX Runtime has no convolutions in bf16 for CPUs",
            hint="Use --to openvino for bf16, or --precision int8 for speed in ONNX.",
        )


def export(request: Request, folder: Path, say: Say) -> Export:
    """Write an export, and compare it with PyTorch.

    Args:
        request: What to export.
        folder: Its place; nothing may be there. It appears once everything is whole.
        say: Told what is being done.

    Raises:
        CheckpointMismatch: The checkpoint holds something else.
        EngineUnavailable: A library is not installed, or this CPU does not compute at the
            precision.
        InvalidInput: No such export can be made, or the photo or the recording can't be used.
        EngineError: An export in fp32 computes something else.
    """
    refuse_impossible(request.format, request.precision)
    writer = _writer(request.format)
    with _unfinished(folder) as place:
        say("reading the checkpoint, the photo and the recording")
        reference = load_generator(request.checkpoint, Compute("cpu", "torch", "fp32"))
        _write(request, reference, writer, place, say)
        description = _describe(request, writer, place)
        say("comparing with PyTorch")
        _save(description, place)
        parity = compare(reference, load_generator(place, Compute("cpu")), request)
        description = description.model_copy(update={"parity": parity})
        _refuse_inexact(description)
        _save(description, place)
    return description


def compare(reference: Generator, exported: Generator, request: Request) -> dict[str, Difference]:
    """How far an export is from the reference, on lifelike inputs and, unless in int8, random ones.

    `mouth` draws over what the export's own `face` gave, as it will when it renders: once over a
    face for each window of speech, and once over one face for all.
    """
    given = [lifelike_inputs(request.face, request.speech, NUM_COMPARED, seed=1)]
    if request.precision != "int8":  # whose range is that of faces and speech
        given.append(random_inputs(NUM_COMPARED))
    pairs: dict[PartName, list[tuple[Floats, Floats]]] = {"face": [], "mouth": [], "whole": []}
    for mel, faces in given:
        own, theirs = reference.see(faces), exported.see(faces)
        pairs["face"] += [
            _scaled(reference.runtime.to_numpy(one), exported.runtime.to_numpy(other))
            for one, other in zip(own, theirs, strict=True)
        ]
        whole = reference.draw_faces(mel, faces)
        pairs["whole"].append((whole, exported.draw_faces(mel, faces)))
        pairs["mouth"].append((whole[:, :, HIDDEN_ROW:], exported.draw_mouths(mel, theirs)))
        photo = reference.draw_mouths(mel, reference.see(faces[:1]))
        pairs["mouth"].append((photo, exported.draw_mouths(mel, exported.see(faces[:1]))))
    return {name: _difference(found) for name, found in pairs.items()}


def _scaled(own: Floats, theirs: Floats) -> tuple[Floats, Floats]:
    scale = max(1.0, float(np.abs(own).max()))
    return own / scale, theirs / scale


def _difference(pairs: Sequence[tuple[Floats, Floats]]) -> Difference:
    gaps = np.concatenate([np.abs(one - other).ravel() for one, other in pairs])
    return Difference(max=float(f"{gaps.max():.3g}"), mean=float(f"{gaps.mean():.3g}"))


def _writer(to: Format) -> ModuleType:
    try:
        return import_module(f"gpu_service.runtimes.{to}_export")
    except ModuleNotFoundError as error:
        line = TORCH_LINE if error.name == "torch" else EXPORT_LINE
        raise EngineUnavailable(
            f"exporting needs {error.name}, which is not installed", hint=f"Run: {line}"
        ) from error


@contextmanager
def _unfinished(folder: Path) -> Iterator[Path]:
    """A folder beside the place, which takes it if the block ends well."""
    if folder.exists():
        raise InvalidInput(
            f"{folder} is there already", hint="Remove it, or name another folder with -o."
        )
    place = folder.with_name(f".{folder.name}.{os.getpid()}.unfinished")
    place.mkdir()
    try:
        yield place
        place.rename(folder)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _write(
    request: Request, reference: Generator, writer: ModuleType, place: Path, say: Say
) -> None:
    from gpu_service.engines.wav2lip.split_network import load_parts

    samples: dict[PartName, list[tuple[Floats, ...]]] = {}
    if request.precision == "int8":
        inputs = lifelike_inputs(request.face, request.speech, NUM_CALIBRATION, seed=0)
        samples = calibration(inputs, reference)
    # Sums cost more than products where numbers are quantised, and where nothing fuses them.
    tiled = request.format == "openvino" and request.precision != "int8"
    parts = load_parts(request.checkpoint, tiled=tiled)
    for name, signature in SIGNATURES.items():
        say(f"writing {name}" + (" in int8, which takes a while" if name in samples else ""))
        writer.write(parts[name].module, signature, place / name, samples.get(name, ()))


def calibration(
    inputs: NetworkInputs, reference: Generator
) -> dict[PartName, list[tuple[Floats, ...]]]:
    """What networks are quantised with, one input at a time.

    `face` stays in fp32: in int8 it doubled what the mouths differ by, and a photo needs it once.
    """
    mel, faces = inputs
    singles = [slice(index, index + 1) for index in range(len(mel))]
    seen = [reference.runtime.to_numpy(each) for each in reference.see(faces)]
    return {
        "mouth": [(mel[one], *(each[one] for each in seen)) for one in singles],
        "whole": [(mel[one], faces[one]) for one in singles],
    }


def _describe(request: Request, writer: ModuleType, place: Path) -> Export:
    return Export(
        weights=request.weights.name,
        format=request.format,
        precision=request.precision,
        networks=tuple(SIGNATURES),
        files={path.name: sha256_of(path) for path in sorted(place.iterdir())},
        checkpoint_sha256=request.checkpoint_sha256,
        libraries=writer.libraries(quantised=request.precision == "int8"),
        parity={},
        licence=request.weights.licence,
    )


def _save(description: Export, place: Path) -> None:
    text = description.model_dump_json(indent=2) + "\n"
    (place / DESCRIPTION).write_text(text, encoding="utf-8")


def _refuse_inexact(description: Export) -> None:
    # Other precisions may differ as they do, but by a number.
    limit = TOLERANCE if description.precision == "fp32" else sys.float_info.max
    worst = {name: gap.max for name, gap in description.parity.items() if not gap.max <= limit}
    if worst:
        raise EngineError(
            "the export does not compute what PyTorch does: the networks "
            + ", ".join(f"{name} (by {gap:g})" for name, gap in worst.items())
            + (f" differ by more than {limit:g}" if limit == TOLERANCE else " give no numbers"),
            hint="Nothing was kept. Report it with the versions of the libraries.",
        )
