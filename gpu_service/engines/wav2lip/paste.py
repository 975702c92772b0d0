"""What the network drew, onto the frame: the mouth blended in, or the whole box."""

from typing import Final

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


class Paster:
    """Pastes mouths into one source frame: only the lower face, fading into the frame.

    The pasted part lies within the face's outline, from the base of the nose down and never above
    the half that the network draws anew; the upper face stays as it was filmed.

    Args:
        box: What the crop shows.
        crop: (96, 96, 3) the frame in the box.
        landmarks: Of the face, in pixels of the frame.
    """

    def __init__(self, box: Box, crop: Image, landmarks: Landmarks) -> None:
        self._box = box
        # The upper half is what scaling sees beyond the edge of the lower one.
        self._canvas = crop.astype(np.float32)
        self._lower = self._canvas[HIDDEN_ROW:].copy()
        grid = _mask(box, landmarks)
        alpha = np.rint(255 * cv2.resize(grid, (box.width, box.height))).astype(np.uint8)
        rows, columns = np.flatnonzero(alpha.any(axis=1)), np.flatnonzero(alpha.any(axis=0))
        # A face that is no larger than the feather leaves nothing to draw on.
        top, bottom = (int(rows[0]), int(rows[-1]) + 1) if rows.size else (0, 1)
        left, right = (int(columns[0]), int(columns[-1]) + 1) if columns.size else (0, 1)
        self._part = np.s_[top:bottom, left:right]
        self._alpha: Mask = np.ascontiguousarray(alpha[self._part])
        self._drawn = Box(box.x1 + left, box.y1 + top, box.x1 + right, box.y1 + bottom)
        small = cv2.resize(grid, (FACE_SIDE, FACE_SIDE), interpolation=cv2.INTER_AREA)[HIDDEN_ROW:]
        # Where old and new pixels mix is where their colours must agree.
        seam = small * (1 - small)
        self._seam = (seam / max(float(seam.sum()), 1e-6))[..., np.newaxis]

    def paste(self, frame_index: int, drawn: Floats) -> FacePatch:
        """One patch.

        Args:
            frame_index: Of the output.
            drawn: (3, 48, 96) what the network drew of the lower half, BGR in [0, 1].
        """
        pixels = drawn.transpose(1, 2, 0) * 255
        shift = ((self._lower - pixels) * self._seam).sum(axis=(0, 1))
        self._canvas[HIDDEN_ROW:] = pixels + np.clip(shift, -MAX_SHIFT, MAX_SHIFT)
        rows, columns = self._part
        width, height = self._box.width, self._box.height
        wide = cv2.resize(self._canvas, (width, FACE_SIDE), interpolation=scaling_method(width))
        wide = wide[:, columns]
        tall = cv2.resize(wide, (wide.shape[1], height), interpolation=scaling_method(height))
        # Rounds and clips in one pass over the picture.
        part = cv2.add(tall[rows], 0, dtype=cv2.CV_8U)  # type: ignore[call-overload]
        return FacePatch(frame_index, self._drawn, np.asarray(part, np.uint8), self._alpha)


def scaling_method(side: int) -> int:
    """How OpenCV is to scale one axis of a crop to so many pixels.

    Axes are scaled one after the other, each in its own way, for `INTER_AREA` averages nothing
    where the other axis grows, and repeats pixels.
    """
    return cv2.INTER_CUBIC if side > FACE_SIDE else cv2.INTER_AREA


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
