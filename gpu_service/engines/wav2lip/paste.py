"""What the network drew, onto the frame: the mouth blended in, or the whole box."""

from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

import cv2
import numpy as np

from gpu_service.data import Box, FacePatch, Image, Landmarks, Mask
from gpu_service.engines.wav2lip.preprocess import FACE_SIDE, HIDDEN_ROW, OVAL, Floats

FEATHER: Final = 0.07
"""Over which share of the box's side the mouth fades into the frame."""
REACH: Final = 1.1
"""How far the blended part reaches beyond the face's outline: an opening jaw lowers the chin."""
MAX_SHIFT: Final = 30.0
"""Most that colours are shifted to match, in grey levels."""
_GRID: Final = 192
"""Side of the grid on which the mask is drawn."""
_NOSE_BASE, _LEFT_EAR, _RIGHT_EAR = 2, 234, 454


class Area:
    """Where in one source frame mouths are pasted: only the lower face, fading into the frame.

    The pasted part lies within the face's outline, from the base of the nose down and never above
    the half that the network draws anew; the upper face stays as it was filmed.

    Args:
        box: What the crop shows.
        crop: (96, 96, 3) the frame in the box.
        landmarks: Of the face, in pixels of the frame.
    """

    def __init__(self, box: Box, crop: Image, landmarks: Landmarks) -> None:
        self.size = box.width, box.height
        """To which the crop is scaled."""
        self.crop = crop.astype(np.float32)
        """Its upper half is what scaling sees beyond the edge of the lower one."""
        grid = _mask(box, landmarks)
        alpha = np.rint(255 * cv2.resize(grid, self.size)).astype(np.uint8)
        self.rows, self.columns = _reach(alpha, axis=1), _reach(alpha, axis=0)
        """Of the scaled crop, what is pasted."""
        self.alpha: Mask = np.ascontiguousarray(alpha[self.rows, self.columns])
        self.box = Box(
            box.x1 + self.columns.start,
            box.y1 + self.rows.start,
            box.x1 + self.columns.stop,
            box.y1 + self.rows.stop,
        )
        """Of the frame, what is pasted on."""
        small = cv2.resize(grid, (FACE_SIDE, FACE_SIDE), interpolation=cv2.INTER_AREA)[HIDDEN_ROW:]
        # Where old and new pixels mix is where their colours must agree.
        seam = small * (1 - small)
        self.seam: Floats = (seam / max(float(seam.sum()), 1e-6))[..., np.newaxis]
        """(48, 96, 1) how much each pixel of the lower half counts when colours are matched."""


class Painter(Protocol):
    """Makes pixels to paste of what the network drew: colours matched, scaled, in whole levels."""

    def paint(self, mouths: Any, areas: Sequence[Area]) -> list[Image]:
        """The pixels of each area's pasted part, in the areas' order.

        Args:
            mouths: (B, 3, 48, 96) lower halves, BGR in [0, 1], in the runtime's own kind of array.
            areas: B of them; a photo's is one and the same each time.
        """


class CpuPainter:
    """Paints with OpenCV, one mouth after the other.

    The two products of matrices that stand for scaling (`paste_network`) are no faster on a CPU,
    and where several threads share them and the processor is busy, they take several times longer.

    Args:
        to_numpy: Of the runtime that draws.
    """

    def __init__(self, to_numpy: Callable[[Any], Floats]) -> None:
        self._to_numpy = to_numpy

    def paint(self, mouths: Any, areas: Sequence[Area]) -> list[Image]:
        """See `Painter`."""
        drawn = self._to_numpy(mouths)
        return [_painted(mouth, area) for mouth, area in zip(drawn, areas, strict=True)]


def scaling_method(side: int) -> int:
    """How OpenCV is to scale one axis of a crop to so many pixels.

    Axes are scaled one after the other, each in its own way, for `INTER_AREA` averages nothing
    where the other axis grows, and repeats pixels.
    """
    return cv2.INTER_CUBIC if side > FACE_SIDE else cv2.INTER_AREA


def _painted(mouth: Floats, area: Area) -> Image:
    pixels = mouth.transpose(1, 2, 0) * 255
    shift = ((area.crop[HIDDEN_ROW:] - pixels) * area.seam).sum(axis=(0, 1))
    canvas = area.crop.copy()
    canvas[HIDDEN_ROW:] = pixels + np.clip(shift, -MAX_SHIFT, MAX_SHIFT)
    width, height = area.size
    wide = cv2.resize(canvas, (width, FACE_SIDE), interpolation=scaling_method(width))
    wide = wide[:, area.columns]
    tall = cv2.resize(wide, (wide.shape[1], height), interpolation=scaling_method(height))
    # Rounds and clips in one pass over the picture.
    whole = cv2.add(tall[area.rows], 0, dtype=cv2.CV_8U)  # type: ignore[call-overload]
    return np.asarray(whole, np.uint8)


def _reach(alpha: Mask, axis: int) -> slice:
    """From the first row or column that is not empty to the last."""
    places = np.flatnonzero(alpha.any(axis=axis))
    # A face that is no larger than the feather leaves nothing to draw on.
    return slice(int(places[0]), int(places[-1]) + 1) if places.size else slice(0, 1)


def paste_box(frame_index: int, box: Box, drawn: Floats) -> FacePatch:
    """The whole box as the release pastes it: cut to whole levels, scaled linearly, no blending."""
    pixels = (drawn.transpose(1, 2, 0) * 255.0).astype(np.uint8)
    size = (box.width, box.height)
    return FacePatch(frame_index, box, np.asarray(cv2.resize(pixels, size), np.uint8))


def _mask(box: Box, landmarks: Landmarks) -> Floats:
    """(192, 192) in [0, 1]: how much of each part of the box is drawn anew."""
    scale = np.array([_GRID / box.width, _GRID / box.height], np.float32)
    points = (landmarks[:, :2] - np.array([box.x1, box.y1], np.float32)) * scale
    outline = points[list(OVAL)]
    centre = outline.mean(axis=0)
    outline = centre + REACH * (outline - centre)
    mask = np.zeros((_GRID, _GRID), np.uint8)
    cv2.fillPoly(mask, [np.rint(outline).astype(np.int32)], 1)
    across = points[_RIGHT_EAR] - points[_LEFT_EAR]
    down = np.array([-across[1], across[0]]) / max(float(np.linalg.norm(across)), 1e-3)
    y, x = np.mgrid[:_GRID, :_GRID]
    below = (x - points[_NOSE_BASE, 0]) * down[0] + (y - points[_NOSE_BASE, 1]) * down[1]
    # The feather lies above the nose's base, so that all beneath it is drawn.
    mask[below < -FEATHER * _GRID] = 0
    mask[: HIDDEN_ROW * _GRID // FACE_SIDE] = 0
    mask[[0, -1]] = 0
    mask[:, [0, -1]] = 0
    depth = cv2.distanceTransform(mask, cv2.DIST_L2, 3) / (FEATHER * _GRID)
    depth = np.clip(depth, 0, 1)
    return np.asarray(depth * depth * (3 - 2 * depth), np.float32)
