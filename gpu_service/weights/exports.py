"""Exports: folders of networks in files that other runtimes than PyTorch read."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from contracts.errors import CheckpointMismatch

Format = Literal["openvino", "onnx"]
ExportPrecision = Literal["fp32", "bf16", "int8"]

DESCRIPTION: Final = "export.json"
"""The file that says what the others are."""
SUFFIXES: Final[Mapping[Format, tuple[str, ...]]] = {
    "openvino": (".xml", ".bin"),
    "onnx": (".onnx",),
}
"""Of each network's files; the first is the one that is opened."""


class Difference(BaseModel):
    """How far what an exported network computes is from what PyTorch does in fp32."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    max: float
    mean: float


class Export(BaseModel):
    """What a folder holds, as its description says."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    weights: str
    """The name of the weights."""
    format: Format
    precision: ExportPrecision
    """bf16 is how the network is to be run; its file holds fp32."""
    networks: tuple[str, ...]
    files: dict[str, str]
    """SHA-256 of each file."""
    checkpoint_sha256: str
    """Of the file that it was made from."""
    libraries: dict[str, str]
    """Versions of what made it."""
    parity: dict[str, Difference]
    """Of each network's results, on the inputs of the export's report."""
    licence: str
    """Of the weights: it holds for the export too."""

    @property
    def file_names(self) -> list[str]:
        """The files of its networks. Those it lists itself are not to be trusted."""
        suffixes = SUFFIXES[self.format]
        return [f"{network}{suffix}" for network in self.networks for suffix in suffixes]

    def opened(self, network: str) -> str:
        """The file to open for a network."""
        return f"{network}{SUFFIXES[self.format][0]}"


def read_export(folder: Path) -> Export:
    """The description of an export.

    Raises:
        CheckpointMismatch: It is not there, or says something else.
        OSError: It can't be read.
    """
    try:
        content = (folder / DESCRIPTION).read_bytes()
    except FileNotFoundError as error:
        raise CheckpointMismatch(
            f"{folder.name} is a folder without {DESCRIPTION}, so it is no export"
        ) from error
    try:
        return Export.model_validate_json(content)
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(map(str, fault["loc"])) or "the file"
        raise CheckpointMismatch(
            f"{DESCRIPTION} of {folder.name} is damaged: {place}: {fault['msg']}"
        ) from error


def check_export(folder: Path, name: str, networks: tuple[str, ...]) -> Export:
    """What an export holds, after every byte of it was compared with its description.

    Args:
        folder: The export.
        name: The weights that it must be of.
        networks: The networks that it must hold.

    Raises:
        CheckpointMismatch: It is not whole, or something else.
        OSError: It can't be read.
    """
    export = read_export(folder)
    if export.weights != name:
        raise CheckpointMismatch(f"{folder.name} is an export of {export.weights}, not of {name}")
    if export.networks != networks:
        raise CheckpointMismatch(
            f"{folder.name} holds the networks {', '.join(export.networks)[:80]} "
            f"instead of {', '.join(networks)}"
        )
    wanted, found = set(export.file_names), set(export.files)
    if wanted != found:
        raise CheckpointMismatch(
            f"{DESCRIPTION} of {folder.name} lists other files than an export in "
            f"{export.format} has: {', '.join(sorted(wanted ^ found))[:200]}"
        )
    faults = [
        f"{file} is {fault}"
        for file, digest in export.files.items()
        if (fault := _fault(folder / file, digest))
    ]
    if faults:
        raise CheckpointMismatch(f"{folder.name} is not whole: {'; '.join(faults)}")
    return export


def _fault(file: Path, digest: str) -> str:
    if not file.is_file():
        return "missing"
    return "" if sha256_of(file) == digest else "not the file that was exported"


def sha256_of(path: Path) -> str:
    """Of a file; of a folder that of its files' names and digests."""
    if path.is_dir():
        lines = [f"{sha256_of(each)}  {each.name}\n" for each in sorted(path.iterdir())]
        return hashlib.sha256("".join(lines).encode()).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
