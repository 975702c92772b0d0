"""The networks of Wav2Lip, with the parameter names of the published checkpoints.

Source: Prajwal et al., "A Lip Sync Expert Is All You Need for Speech to Lip Generation In the
Wild", 2020; layers as in Rudrabha/Wav2Lip models/ @5c90fa9, rewritten from its layer tables.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Conv(NamedTuple):
    """A convolution, its normalisation and activation; `up` makes it a transposed one."""

    channels: int
    kernel: int = 3
    stride: int | tuple[int, int] = 1
    padding: int = 1
    up: bool = False


class Block(nn.Module):
    """Convolution, batch normalisation and ReLU; the input is added where the shape allows."""

    def __init__(self, in_channels: int, conv: Conv) -> None:
        super().__init__()
        layer: nn.Module
        if conv.up:
            layer = nn.ConvTranspose2d(
                in_channels,
                conv.channels,
                conv.kernel,
                conv.stride,
                conv.padding,
                output_padding=0 if conv.stride == 1 else 1,
            )
        else:
            layer = nn.Conv2d(in_channels, conv.channels, conv.kernel, conv.stride, conv.padding)
        self.conv_block = nn.Sequential(layer, nn.BatchNorm2d(conv.channels))
        # Every layer that keeps its input's shape is a residual one, but for those of 1 x 1.
        self.residual = in_channels == conv.channels and conv[1:] == Conv(0)[1:]

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) -> (B, channels, H', W')."""
        y: Tensor = self.conv_block(x)
        return F.relu(y + x if self.residual else y)


def blocks(in_channels: int, convs: Sequence[Conv]) -> list[Block]:
    """A chain of blocks."""
    sizes = pairwise((in_channels, *(conv.channels for conv in convs)))
    return [Block(size, conv) for (size, _), conv in zip(sizes, convs, strict=True)]


def residual(channels: int, times: int) -> list[Conv]:
    """Convolutions that keep the shape."""
    return [Conv(channels)] * times


def speech_encoder(num_256: int) -> nn.Sequential:
    """(B, 1, 80, 16) mel windows -> (B, 512, 1, 1)."""
    return nn.Sequential(
        *blocks(
            1,
            [
                *residual(32, 3),
                Conv(64, stride=(3, 1)),
                *residual(64, 2),
                Conv(128, stride=3),
                *residual(128, 2),
                Conv(256, stride=(3, 2)),
                *residual(256, num_256),
                Conv(512, padding=0),
                Conv(512, kernel=1, padding=0),
            ],
        )
    )


class Wav2LipGenerator(nn.Module):
    """Draws a face whose mouth follows a window of speech.

    The channels of its input are a face with its lower half blacked out, then a face that shows
    what the person looks like, each BGR in [0, 1].
    """

    def __init__(self) -> None:
        super().__init__()
        encoder = [
            [Conv(16, kernel=7, padding=3)],
            [Conv(32, stride=2), *residual(32, 2)],
            [Conv(64, stride=2), *residual(64, 3)],
            [Conv(128, stride=2), *residual(128, 2)],
            [Conv(256, stride=2), *residual(256, 2)],
            [Conv(512, stride=2), *residual(512, 1)],
            [Conv(512, padding=0), Conv(512, kernel=1, padding=0)],
        ]
        decoder = [
            [Conv(512, kernel=1, padding=0)],
            [Conv(512, padding=0, up=True), *residual(512, 1)],
            *(
                [Conv(channels, stride=2, up=True), *residual(channels, 2)]
                for channels in (512, 384, 256, 128, 64)
            ),
        ]
        depths = [stage[-1].channels for stage in encoder]
        self.face_encoder_blocks = nn.ModuleList(
            nn.Sequential(*blocks(size, stage))
            for size, stage in zip((6, *depths[:-1]), encoder, strict=True)
        )
        self.audio_encoder = speech_encoder(1)
        # Each stage also gets the face's features of its size, from the smallest to the largest.
        given = [0, *reversed(depths)]
        sizes = [512, *(stage[-1].channels for stage in decoder)]
        self.face_decoder_blocks = nn.ModuleList(
            nn.Sequential(*blocks(size + more, stage))
            for size, more, stage in zip(sizes, given, decoder, strict=False)
        )
        self.output_block = nn.Sequential(
            Block(sizes[-1] + given[-1], Conv(32)), nn.Conv2d(32, 3, 1), nn.Sigmoid()
        )

    def forward(self, mel: Tensor, faces: Tensor) -> Tensor:
        """Draw the faces.

        Args:
            mel: (B, 1, 80, 16) mel windows.
            faces: (B, 6, 96, 96) in [0, 1].

        Returns:
            (B, 3, 96, 96) BGR in [0, 1].
        """
        features = self.encode_faces(faces)
        x: Tensor = self.audio_encoder(mel)
        for stage, feature in zip(self.face_decoder_blocks, reversed(features), strict=True):
            x = torch.cat((stage(x), feature), dim=1)
        drawn: Tensor = self.output_block(x)
        return drawn

    def encode_faces(self, faces: Tensor) -> list[Tensor]:
        """The faces' features, from (B, 16, 96, 96) to (B, 512, 1, 1)."""
        features = []
        for stage in self.face_encoder_blocks:
            faces = stage(faces)
            features.append(faces)
        return features


class SyncNetColor(nn.Module):
    """Tells how well five frames of a mouth fit a window of speech."""

    def __init__(self) -> None:
        super().__init__()
        self.face_encoder = nn.Sequential(
            *blocks(
                15,
                [
                    Conv(32, kernel=7, padding=3),
                    Conv(64, kernel=5, stride=(1, 2)),
                    *residual(64, 2),
                    Conv(128, stride=2),
                    *residual(128, 3),
                    Conv(256, stride=2),
                    *residual(256, 2),
                    Conv(512, stride=2),
                    *residual(512, 2),
                    Conv(512, stride=2),
                    Conv(512, padding=0),
                    Conv(512, kernel=1, padding=0),
                ],
            )
        )
        self.audio_encoder = speech_encoder(2)

    def forward(self, mel: Tensor, faces: Tensor) -> tuple[Tensor, Tensor]:
        """Embed speech and faces; the cosine between the two is the score, in [0, 1].

        Args:
            mel: (B, 1, 80, 16) mel windows.
            faces: (B, 15, 48, 96) lower halves of five faces, BGR after BGR, in [0, 1].

        Returns:
            Unit vectors of the speech and of the faces, each (B, 512).
        """
        speech = self.audio_encoder(mel).flatten(1)
        seen = self.face_encoder(faces).flatten(1)
        return F.normalize(speech), F.normalize(seen)
