"""The published weights: what each is, what it may be used for, and where it is to be had."""

from typing import Final, NamedTuple

from contracts.errors import InvalidInput

_WAV2LIP_LICENCE: Final = (
    "personal, research and non-commercial use only: its authors trained it on LRS2"
)


class Weights(NamedTuple):
    """One published file of weights."""

    name: str
    """As given to the commands, and as `LipSyncOptions.checkpoint`."""
    title: str
    """What it is, for people."""
    engine: str
    """The engine that uses it."""
    network: str
    """Import string of the network that it fills."""
    file_names: tuple[str, ...]
    """Under which names it is found."""
    size: str
    """About how large the file is."""
    licence: str
    """What it may be used for."""
    research_only: bool
    """Whether its licence must be accepted first."""
    page: str
    """Where a person finds it."""
    url: str = ""
    """Gives the file itself; empty where only a page is known."""
    sha256_start: str = ""
    """How the file's SHA-256 begins, as far as its publisher tells."""
    exported: tuple[str, ...] = ()
    """The networks that its exports hold; empty where none can be made."""


_GENERATOR_PARTS: Final = ("face", "mouth", "whole")

LINKS_NOTED: Final = "link of 2026-11-21, not tried"
"""How far the links below can be relied on."""

WEIGHTS: Final = {
    weights.name: weights
    for weights in (
        Weights(
            name="wav2lip_gan",
            title="Wav2Lip + GAN: sharper mouths",
            engine="wav2lip",
            network="gpu_service.engines.wav2lip.network:Wav2LipGenerator",
            file_names=("wav2lip_gan.pth", "Wav2Lip-SD-GAN.pt"),
            size="145 MB, or 416 MB with the optimizer's state",
            licence=_WAV2LIP_LICENCE,
            research_only=True,
            page="https://github.com/Rudrabha/Wav2Lip#getting-the-weights",
            url="https://drive.google.com/file/d/15G3U08c8xsCkOqQxE38Z2XXDnPcOptNk/view",
            exported=_GENERATOR_PARTS,
        ),
        Weights(
            name="wav2lip",
            title="Wav2Lip: the most exact lips",
            engine="wav2lip",
            network="gpu_service.engines.wav2lip.network:Wav2LipGenerator",
            file_names=("wav2lip.pth", "Wav2Lip-SD-NOGAN.pt"),
            size="145 MB, or 416 MB with the optimizer's state",
            licence=_WAV2LIP_LICENCE,
            research_only=True,
            page="https://drive.google.com/drive/folders/153HLrqlBNxzZcHi17PEvP09kkAfzRshM",
            exported=_GENERATOR_PARTS,
        ),
        Weights(
            name="lipsync_expert",
            title="Wav2Lip's SyncNet: says how well lips follow a voice",
            engine="wav2lip",
            network="gpu_service.engines.wav2lip.network:SyncNetColor",
            file_names=("lipsync_expert.pth",),
            size="66 MB, or about 200 MB with the optimizer's state",
            licence=_WAV2LIP_LICENCE,
            research_only=True,
            page="https://github.com/Rudrabha/Wav2Lip",
        ),
        Weights(
            name="s3fd",
            title="S3FD: the face detector of Wav2Lip's release",
            engine="wav2lip",
            network="gpu_service.faces.s3fd_network:S3FD",
            file_names=("s3fd.pth", "s3fd-619a316812.pth"),
            size="90 MB",
            licence="BSD-3-Clause, as the project face-alignment that publishes it",
            research_only=False,
            page="https://github.com/1adrianb/face-alignment",
            url="https://www.adrianbulat.com/downloads/python-fan/s3fd-619a316812.pth",
            sha256_start="619a316812",
        ),
    )
}
"""Every published file by its name."""


def weights_named(name: str) -> Weights:
    """The weights of this name.

    Raises:
        InvalidInput: There are none.
    """
    if name not in WEIGHTS:
        raise InvalidInput(
            f"there are no weights {name!r}", hint=f"The names are: {', '.join(WEIGHTS)}."
        )
    return WEIGHTS[name]


def weights_of_file(file_name: str) -> Weights:
    """The weights that are published under this file name.

    Raises:
        InvalidInput: None are.
    """
    for weights in WEIGHTS.values():
        if file_name.lower() in (each.lower() for each in weights.file_names):
            return weights
    raise InvalidInput(
        f"{file_name} is the name of no published file",
        hint=f"Say what it is: --name {' | '.join(WEIGHTS)}",
    )
