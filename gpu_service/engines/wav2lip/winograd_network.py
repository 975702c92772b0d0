"""The mouth's half of Wav2Lip's generator, with half the multiplications of its large convolutions.

Four rows of a 3 x 3 convolution's result need twelve products for each column of its kernel when
they are computed one by one, and six when the four are computed together from sums of the rows that
they share. Those sums are cheap where a runtime fuses them, as OpenVINO does; PyTorch's own
operators write each of them into memory and gain nothing.

Source: Winograd, "Arithmetic Complexity of Computations", 1980; in the form F(4, 3) of Lavin and
Gray, "Fast Algorithms for Convolutional Neural Networks", 2015, along the rows only: square tiles
would save more products, but take more sums and round more.
"""

from typing import Final, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gpu_service.engines.wav2lip.split_network import (
    FIRST_ROW,
    TILE,
    TILED,
    Folded,
    FoldedBlock,
    MouthSide,
)

_KERNEL: Final = (
    (1 / 4, 0, 0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0, 0, 1),
)
"""G of the paper: the kernel's three rows to the six that multiply the summed rows."""


class Tiles(NamedTuple):
    """A picture as its rows, each fourth: row r of it is row r // 4 of part r % 4."""

    first: Tensor
    second: Tensor
    third: Tensor
    fourth: Tensor

    @classmethod
    def of(cls, x: Tensor, begin: int = 0) -> "Tiles":
        """Part the rows of (B, C, H, W) from `begin` on into four of (B, C, (H - begin) / 4, W)."""
        return cls(*(x[:, :, begin + row :: TILE] for row in range(TILE)))

    def plus(self, other: "Tiles") -> "Tiles":
        """The sum of both."""
        return Tiles(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))

    def relu(self) -> "Tiles":
        """Without what is below zero."""
        return Tiles(*(F.relu(part) for part in self))

    def joined(self) -> Tensor:
        """The picture, (B, C, H, W)."""
        batch, channels, height, width = self.first.shape
        # Side by side first: that is their order in memory, so that nothing moves twice.
        return torch.cat(self, dim=3).reshape(batch, channels, TILE * height, width)


class TiledConv(nn.Module):
    """A 3 x 3 convolution of tiles, with zeros around the picture.

    Args:
        conv: Folded, of stride 1.
        residual: Whether the input is added to the result: that is one more in the kernel's middle.
    """

    def __init__(self, conv: Folded, *, residual: bool = False) -> None:
        super().__init__()
        kernel = conv.weight.double()
        if residual:
            channels = torch.arange(kernel.shape[0])
            kernel[channels, channels, 1, 1] += 1
        kernels = torch.einsum(
            "pr,oirc->poic", torch.tensor(_KERNEL, dtype=torch.float64), kernel
        ).float()
        self.kernels = nn.ParameterList(
            nn.Parameter(each.unsqueeze(2).contiguous(), requires_grad=False) for each in kernels
        )
        self.bias = conv.bias

    def forward(self, x: Tiles) -> Tiles:
        """Tiles of (B, C, H / 4, W) -> of (B, channels, H / 4, W)."""
        before, after = F.pad(x.fourth, (0, 0, 1, -1)), F.pad(x.first, (0, 0, -1, 1))
        one, two, three, four = x
        # B of the paper. Sums that are written so, each of its own, are one pass each when fused.
        sums = (
            before * 4 + two * -5 + four,
            (one + two) * -4 + three + four,
            (two - one) * -4 + four - three,
            (three - one) * 2 + four - two,
            (three - one) * -2 + four - two,
            one * 4 + three * -5 + after,
        )
        products = [
            # Every row of a tile has the second product in it once, and so the bias.
            F.conv2d(each, kernel, self.bias if index == 1 else None, padding=(0, 1))
            for index, (each, kernel) in enumerate(zip(sums, self.kernels, strict=True))
        ]
        p0, p1, p2, p3, p4, p5 = products
        # A of the paper.
        return Tiles(
            p0 + p1 + p2 + p3 + p4,
            (p3 - p4) * 2 + p1 - p2,
            (p3 + p4) * 4 + p1 + p2,
            (p3 - p4) * 8 + p1 - p2 + p5,
        )


class TiledMouthSide(nn.Module):
    """Draws what `MouthSide` draws, over the same prepared faces.

    Stages of 24 pixels and more are drawn in whole tiles. Zeros stand for the rows above the first,
    so that each convolution makes one more row at the top wrong: none of those is needed, and the
    last are cut off.

    Args:
        mouth: Whose weights it takes.
    """

    def __init__(self, mouth: MouthSide) -> None:
        super().__init__()
        self.mouth = mouth
        self.stages = nn.ModuleList(
            nn.ModuleList(
                TiledConv(block.conv, residual=block.residual)
                for block in cast("list[FoldedBlock]", [*cast(nn.Sequential, stage)])
            )
            for stage in [*mouth.stages][TILED:]
        )
        self.last = TiledConv(mouth.last)

    def forward(self, mel: Tensor, *faces: Tensor) -> Tensor:
        """(B, 1, 80, 16) windows and what `FaceSide` gives -> (B, 3, 48, 96), as `MouthSide`."""
        mouth = self.mouth
        x, first = mouth.draw(mel, faces, TILED), mouth.rows[TILED - 1].drawn
        for enlarge, convs, rows, face in zip(
            [*mouth.enlargers][TILED:], self.stages, mouth.rows[TILED:], faces[TILED:], strict=False
        ):
            tiles = Tiles.of(enlarge(x), rows.joined - 2 * first).plus(Tiles.of(face)).relu()
            for conv in cast(nn.ModuleList, convs):
                tiles = conv(tiles).relu()
            x, first = tiles.joined(), rows.joined
        above = FIRST_ROW - first
        lower = Tiles(*(part[:, :, above // TILE :] for part in self.last(tiles)))
        seen = Tiles.of(faces[-1], FIRST_ROW - mouth.rows[-1].drawn - 1)
        colours = [torch.sigmoid(mouth.colours(part)) for part in lower.plus(seen).relu()]
        return Tiles(*colours).joined()
