"""What the network drew to what is pasted, on the card: a batch comes back in one copy.

Scaling a picture is a product of matrices, rows @ picture @ columns. OpenCV itself gives the
matrices: they are what it makes of the identity. Of them, only the pasted part is used.
"""

from collections.abc import Sequence
from itertools import groupby

import cv2
import numpy as np
import torch
from torch import Tensor

from gpu_service.data import Image
from gpu_service.engines.wav2lip.paste import MAX_SHIFT, Area, scaling_method
from gpu_service.engines.wav2lip.preprocess import FACE_SIDE, HIDDEN_ROW, Floats
from gpu_service.runtimes.torch_runtime import TorchRuntime


class CardPainter:
    """Paints where the network drew, and waits for the card once a batch.

    Args:
        runtime: What the network runs on.
    """

    def __init__(self, runtime: TorchRuntime) -> None:
        self._runtime = runtime
        self._area: Area | None = None
        self._scaler: _Scaler

    def paint(self, mouths: Tensor | Floats, areas: Sequence[Area]) -> list[Image]:
        """See `Painter`."""
        with torch.inference_mode():
            # In float32 from here on: half precision would round to a quarter of a grey level.
            drawn = self._runtime.place(mouths)
            parts: list[Tensor] = []
            first = 0
            for area, group in groupby(areas):
                end = first + len(list(group))
                parts.append(self._at(area).scale(drawn[first:end]))
                first = end
            return [pixels for part in self._runtime.fetch(parts) for pixels in part]

    def _at(self, area: Area) -> "_Scaler":
        if area is not self._area:  # a photo's stays on the card
            self._area, self._scaler = area, _Scaler(area, self._runtime)
        return self._scaler


class _Scaler:
    """What painting needs to know of an area, on the card."""

    def __init__(self, area: Area, runtime: TorchRuntime) -> None:
        width, height = area.size
        rows, columns = _matrix(height)[area.rows], _matrix(width)[area.columns]
        # Of the upper half, scaling sees the few rows next to the lower one.
        first = min(int(np.flatnonzero(rows.any(axis=0))[0]), HIDDEN_ROW)
        crop = area.crop.transpose(2, 0, 1)
        self._above = runtime.place(np.ascontiguousarray(crop[:, first:HIDDEN_ROW]))
        self._below = runtime.place(np.ascontiguousarray(crop[:, HIDDEN_ROW:]))
        self._seam = runtime.place(np.ascontiguousarray(area.seam[..., 0]))
        self._rows = runtime.place(np.ascontiguousarray(rows[:, first:]))
        self._columns = runtime.place(np.ascontiguousarray(columns.T))

    def scale(self, mouths: Tensor) -> Tensor:
        """(N, 3, 48, 96) BGR in [0, 1] -> (N, height, width, 3) uint8."""
        pixels = mouths * 255
        shift = ((self._below - pixels) * self._seam).sum((2, 3), keepdim=True)
        below = pixels + shift.clip(-MAX_SHIFT, MAX_SHIFT)
        canvas = torch.cat((self._above.expand(len(mouths), -1, -1, -1), below), dim=2)
        # Columns first: the pasted part has fewer rows than columns, and the channels of the small
        # picture are cheap to move together.
        wide = (canvas @ self._columns).permute(0, 2, 3, 1)
        tall = self._rows @ wide.flatten(2)
        whole = tall.round().clip(0, 255).to(torch.uint8)
        return whole.reshape(len(mouths), len(self._rows), -1, 3)


def _matrix(side: int) -> Floats:
    """(side, 96) what scales 96 pixels to so many."""
    identity, size = np.eye(FACE_SIDE, dtype=np.float32), (FACE_SIDE, side)
    return np.asarray(cv2.resize(identity, size, interpolation=scaling_method(side)), np.float32)
