"""Wav2Lip's generator cut in two: what a face alone decides, and what the speech adds to it.

The decoder joins the face's features to what it has drawn so far by putting their channels side by
side; a convolution of such channels is the sum of two convolutions. So all that depends on the
face alone is computed once for a photo, however long the speech is. The other half draws only the
rows of the lower face, of which each layer needs a few more at the top. Normalisation is folded
into the convolutions. Together they compute the lower half of `Wav2LipGenerator`'s picture with 54
% of its multiplications; `winograd_network.py` does with fewer.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gpu_service.engines.wav2lip.network import Block, Wav2LipGenerator
from gpu_service.runtimes.torch_runtime import load_checkpoint

FIRST_ROW: Final = 48
"""Of the 96 rows of a picture, those from here on are drawn."""
CROPPED: Final = 2
"""Stages from here on, of 12 pixels and more, are drawn in part; cropping smaller ones gains
nothing."""
TILED: Final = 3
"""Stages from here on, of 24 pixels and more, begin with a whole tile, so that `winograd_network`
can take over."""
TILE: Final = 4
"""How many rows a tile has."""


class Rows(NamedTuple):
    """Which rows of a decoder stage are computed."""

    joined: int
    """First row where the face's part is added: after the enlarging convolution."""
    drawn: int
    """First row after the stage's other convolutions, each of which uses up one row above."""


def needed_rows(num_convs: Sequence[int]) -> list[Rows]:
    """The rows of each stage that the lower half of the picture depends on.

    Args:
        num_convs: How many convolutions each stage has after the one that enlarges.
    """
    rows: list[Rows] = []
    drawn = FIRST_ROW - 1
    for stage in reversed(range(len(num_convs))):
        joined = drawn - num_convs[stage] if stage >= CROPPED else 0
        if stage >= TILED:
            joined -= joined % TILE
            drawn = joined + num_convs[stage]
        rows.append(Rows(joined, drawn))
        # Row r of the enlarged picture comes from row r // 2 and the next.
        drawn = joined // 2
    return rows[::-1]


class Folded(nn.Module):
    """A block's convolution with its normalisation folded in, without residual or activation.

    Args:
        block: Of the generator.
        inputs: Those of its input channels that are given.
        biased: Whether it adds the bias; of the parts of one convolution, one must.
        above: Whether zeros are put above the first row; else the result has a row less.
    """

    def __init__(
        self, block: Block, inputs: slice = slice(None), *, biased: bool = True, above: bool = True
    ) -> None:
        super().__init__()
        conv, norm = cast(nn.Conv2d, block.conv_block[0]), cast(nn.BatchNorm2d, block.conv_block[1])
        variance, mean, bias = norm.running_var, norm.running_mean, conv.bias
        if variance is None or mean is None or bias is None:
            raise AssertionError("the generator's convolutions have biases and running statistics")
        scale = norm.weight.double() / (variance.double() + norm.eps).sqrt()
        self.up = isinstance(conv, nn.ConvTranspose2d)
        along, given = (1, (inputs,)) if self.up else (0, (slice(None), inputs))
        shape = [1, 1, 1, 1]
        shape[along] = -1
        weight = (conv.weight.double() * scale.view(shape))[given]
        self.weight = nn.Parameter(weight.float().contiguous(), requires_grad=False)
        offset = (bias.double() - mean.double()) * scale + norm.bias.double()
        self.bias = nn.Parameter(offset.float(), requires_grad=False) if biased else None
        self.stride, self.padding = conv.stride, conv.padding
        self.extra = conv.output_padding
        self.above = above

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, channels, H', W')."""
        if self.up:
            places = cast(tuple[int, ...], self.padding)
            return F.conv_transpose2d(x, self.weight, self.bias, self.stride, places, self.extra)
        if self.above:
            return F.conv2d(x, self.weight, self.bias, self.stride, self.padding)
        side = int(self.padding[1])
        return F.conv2d(F.pad(x, (side, side, 0, side)), self.weight, self.bias)


class FoldedBlock(nn.Module):
    """A whole block: folded convolution, residual and ReLU."""

    def __init__(self, block: Block, *, above: bool = True) -> None:
        super().__init__()
        self.conv = Folded(block, above=above)
        self.residual = block.residual

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, channels, H', W')."""
        y: Tensor = self.conv(x)
        if not self.residual:
            return F.relu(y)
        return F.relu(y + (x if self.conv.above else x[:, :, 1:]))


def _folded(stage: nn.Module) -> nn.Sequential:
    return nn.Sequential(*(FoldedBlock(cast(Block, block)) for block in stage.children()))


def _joins(generator: Wav2LipGenerator) -> list[tuple[Block, int]]:
    """The convolutions that see face and drawing side by side, and how many channels are drawn."""
    blocks = [cast(nn.Sequential, stage)[0] for stage in generator.face_decoder_blocks]
    joins = [cast(Block, block) for block in (*blocks[1:], generator.output_block[0])]
    stages = [[*cast(nn.Sequential, stage)] for stage in generator.face_encoder_blocks]
    depths = [cast(Block, stage[-1]).conv_block[0].out_channels for stage in reversed(stages)]
    return [
        (join, cast(nn.Conv2d, join.conv_block[0]).in_channels - cast(int, depth))
        for join, depth in zip(joins, depths, strict=True)
    ]


def _stage_convs(generator: Wav2LipGenerator) -> list[list[Block]]:
    """The blocks of each enlarging stage, but for the one that enlarges."""
    stages = [*generator.face_decoder_blocks][1:]
    return [[cast(Block, block) for block in [*stage.children()][1:]] for stage in stages]


class FaceSide(nn.Module):
    """What the generator makes of faces, whatever they will say."""

    def __init__(self, generator: Wav2LipGenerator) -> None:
        super().__init__()
        self.encoder = nn.ModuleList(map(_folded, generator.face_encoder_blocks))
        self.parts = nn.ModuleList(
            Folded(join, slice(num_drawn, None)) for join, num_drawn in _joins(generator)
        )
        rows = needed_rows([len(convs) for convs in _stage_convs(generator)])
        # The last part is added after one more convolution, which uses up a row, too.
        self.firsts = [*(row.joined for row in rows), rows[-1].drawn + 1]

    def forward(self, faces: Tensor) -> tuple[Tensor, ...]:
        """Prepare faces.

        Args:
            faces: (F, 6, 96, 96) as `Wav2LipGenerator` takes them.

        Returns:
            Seven tensors for `MouthSide`, from (F, 512, 3, 3) to (F, 32, 49, 96).
        """
        features, x = [], faces
        for stage in self.encoder:
            x = stage(x)
            features.append(x)
        return tuple(
            part(feature)[:, :, first:]
            for part, feature, first in zip(self.parts, features[::-1], self.firsts, strict=True)
        )


class MouthSide(nn.Module):
    """What the generator draws of the speech, over prepared faces."""

    def __init__(self, generator: Wav2LipGenerator) -> None:
        super().__init__()
        self.listener = nn.Sequential(
            *_folded(generator.audio_encoder), *_folded(generator.face_decoder_blocks[0])
        )
        joins, convs = _joins(generator), _stage_convs(generator)
        self.enlargers = nn.ModuleList(
            Folded(join, slice(num_drawn), biased=False) for join, num_drawn in joins[:-1]
        )
        self.stages = nn.ModuleList(
            nn.Sequential(*(FoldedBlock(block, above=stage < CROPPED) for block in blocks))
            for stage, blocks in enumerate(convs)
        )
        last, num_drawn = joins[-1]
        self.last = Folded(last, slice(num_drawn), biased=False, above=False)
        self.colours = generator.output_block[1]
        self.rows = needed_rows([len(blocks) for blocks in convs])

    def forward(self, mel: Tensor, *faces: Tensor) -> Tensor:
        """Draw the lower halves of faces.

        Args:
            mel: (B, 1, 80, 16) windows of speech.
            faces: What `FaceSide` gives, of B faces or of one for all windows.

        Returns:
            (B, 3, 48, 96) BGR in [0, 1]: rows 48 to 95.
        """
        x = self.draw(mel, faces, len(self.rows))
        drawn: Tensor = self.colours(F.relu(self.last(x) + faces[-1]))
        return torch.sigmoid(drawn[:, :, FIRST_ROW - self.rows[-1].drawn - 1 :])

    def draw(self, mel: Tensor, faces: Sequence[Tensor], num_stages: int) -> Tensor:
        """What the first stages draw, from the row on that the last of them says."""
        x: Tensor = self.listener(mel)
        first = 0
        for enlarge, stage, rows, face in zip(
            [*self.enlargers][:num_stages], self.stages, self.rows, faces, strict=False
        ):
            # Of row r, the enlarged picture begins with row 2 r.
            x = enlarge(x)[:, :, rows.joined - 2 * first :]
            x, first = stage(F.relu(x + face)), rows.drawn
            if rows.joined == 0:  # drawn whole
                x = x[:, :, first:]
        return x


class Part(NamedTuple):
    """One of the networks that draw, for a runtime to compile."""

    module: nn.Module
    shapes: tuple[tuple[int, ...], ...]
    """Of its inputs, each without the batch."""


def load_parts(path: Path, *, tiled: bool = False) -> dict[str, Part]:
    """The networks of a checkpoint: `face`, `mouth` and, for the whole picture, `whole`.

    Args:
        path: The checkpoint.
        tiled: Whether `mouth` is to multiply less and add more, see `winograd_network`.

    Raises:
        CheckpointMismatch: The file holds something else.
        OSError: The file can't be read.
    """
    generator = Wav2LipGenerator()
    load_checkpoint(generator, path)
    generator.eval().requires_grad_(False)
    return split(generator, tiled=tiled)


def split(generator: Wav2LipGenerator, *, tiled: bool = False) -> dict[str, Part]:
    """The generator in parts, as `load_parts` gives them."""
    from gpu_service.engines.wav2lip.winograd_network import TiledMouthSide

    mel, faces = (1, 80, 16), (6, 96, 96)
    face, mouth = FaceSide(generator).eval(), MouthSide(generator).eval()
    with torch.inference_mode():
        prepared = face(torch.zeros(1, *faces))
    return {
        "face": Part(face, (faces,)),
        "mouth": Part(
            TiledMouthSide(mouth).eval() if tiled else mouth,
            (mel, *(tuple(each.shape[1:]) for each in prepared)),
        ),
        "whole": Part(generator, (mel, faces)),
    }
