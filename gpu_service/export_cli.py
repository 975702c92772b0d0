"""The command that exports networks for other runtimes than PyTorch."""

import argparse
import sys
from pathlib import Path
from typing import Final, get_args

from contracts.errors import CheckpointMissing
from gpu_service.engines.wav2lip.engine import CHECKPOINTS
from gpu_service.engines.wav2lip.export import (
    NUM_COMPARED,
    TOLERANCE,
    Request,
    export,
    refuse_impossible,
)
from gpu_service.settings import Settings
from gpu_service.weights.exports import SUFFIXES, Export, ExportPrecision
from gpu_service.weights.registry import weights_named
from gpu_service.weights.store import WeightsStore, how_to_get

FACE: Final = Path(__file__).resolve().parent.parent / "samples" / "portrait.jpg"
SPEECH: Final = FACE.with_name("speech.flac")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Make this parser the command `export`."""
    parser.add_argument("engine", choices=["wav2lip"], help="whose networks")
    parser.add_argument("--to", choices=SUFFIXES, required=True, help="the format")
    parser.add_argument(
        "--precision",
        choices=get_args(ExportPrecision),
        default="fp32",
        help="fp32 is exact; bf16 is about twice as fast, where the CPU has it; int8 faster still",
    )
    parser.add_argument("--checkpoint", choices=CHECKPOINTS, help="default: the first installed")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FOLDER",
        help="default: CHECKPOINT-FORMAT-PRECISION, in this folder",
    )
    also = "to compare with PyTorch, and to quantise with; default: samples/"
    parser.add_argument("--face", type=Path, default=FACE, metavar="FILE", help=also + FACE.name)
    parser.add_argument(
        "--speech", type=Path, default=SPEECH, metavar="FILE", help=also + SPEECH.name
    )
    parser.set_defaults(run=_run)


def _run(settings: Settings, options: argparse.Namespace) -> int:
    refuse_impossible(options.to, options.precision)
    store = WeightsStore(settings.weights_dir)
    name = options.checkpoint or next(filter(store.find, CHECKPOINTS), CHECKPOINTS[0])
    path, record = store.require(name), store.record(name)
    if record is None or path.is_dir():
        raise CheckpointMissing(
            f"{name} is installed as an export, from which no other one can be made",
            hint=how_to_get(weights_named(name)),
        )
    folder = options.output or Path(f"{name}-{options.to}-{options.precision}")
    request = Request(
        weights=weights_named(name),
        checkpoint=path,
        checkpoint_sha256=record.sha256,
        format=options.to,
        precision=options.precision,
        face=options.face.read_bytes(),
        speech=options.speech.read_bytes(),
    )
    made = export(request, folder, _say)
    for line in _report(made, folder):
        _say(line)
    return 0


def _report(made: Export, folder: Path) -> list[str]:
    """What a person learns of an export."""
    rows = [
        f"{name:8} max {gap.max:<8.3g} mean {gap.mean:.3g}" for name, gap in made.parity.items()
    ]
    compared = f"{NUM_COMPARED} faces and sounds made from the photo and the recording"
    if made.precision != "int8":
        compared += f", and {NUM_COMPARED} random ones"
    return [
        f"{folder}: {made.weights} for {made.format} in {made.precision}, made with "
        + ", ".join(f"{library} {version}" for library, version in made.libraries.items()),
        f"differences from PyTorch in fp32 on {compared}, where pictures go from 0 to 1:",
        *rows,
        f"each is within {TOLERANCE:g}, so the pictures are the same"
        if made.precision == "fp32"
        else "whether its pictures are good enough is to be judged by eye: render with it",
        f"licence: {made.licence}",
        f"to render with it: python -m gpu_service weights add {folder}",
    ]


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
