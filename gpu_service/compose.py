"""Patches onto frames."""

from typing import Final

import cv2
import numpy as np

from gpu_service.data import Box, FacePatch, Frame, Image

NOWHERE: Final = Box(0, 0, 0, 0)


def compose(frame: Frame, patch: FacePatch) -> Frame:
    """A copy of the frame with the patch on it; pixels outside the patch stay as they are."""
    composed = frame.copy()
    _mix(composed, patch)
    return composed


class Canvas:
    """Shows one output frame after the other, and says where each differs from the one before.

    On a photo, only the patches' pixels are written anew; all the rest of a large picture stays.
    """

    # On the CPU whatever drew the patches: the frames come from one codec there and go to another,
    # and whole frames both ways would be several times what patches are.

    def __init__(self) -> None:
        self._frame: Frame | None = None
        self._pixels: Frame = np.empty((0, 0, 3), np.uint8)
        self._is_copied = False
        self._drawn = NOWHERE

    def show(self, frame: Frame, patch: FacePatch | None) -> tuple[Frame, Box | None]:
        """Put the patch on the frame, which itself stays as it is.

        Args:
            frame: The very same array stands for the same pixels.
            patch: None shows the frame alone.

        Returns:
            The pixels, until the next are shown; and the box outside of which they are those shown
            before, None where all of them may differ.
        """
        before = self._drawn
        is_new = frame is not self._frame
        if is_new:
            self._frame, self._is_copied, before = frame, False, NOWHERE
        self._drawn = patch.box if patch else NOWHERE
        if patch or self._is_copied:
            self._draw(frame, patch, before)
        changed = None if is_new else _around(before, self._drawn)
        return (self._pixels if self._is_copied else frame), changed

    def _draw(self, frame: Frame, patch: FacePatch | None, before: Box) -> None:
        """Make the canvas the frame with the patch; it holds the frame, but for a box."""
        if not self._is_copied:
            if self._pixels.shape != frame.shape:
                self._pixels = np.empty_like(frame)
            self._pixels[:] = frame
            self._is_copied = True
        elif patch is None or patch.alpha is not None or patch.box != before:
            _cut(self._pixels, before)[:] = _cut(frame, before)
        if patch:
            _mix(self._pixels, patch)


def _mix(pixels: Frame, patch: FacePatch) -> None:
    below = _cut(pixels, patch.box)
    if patch.alpha is None:
        below[:] = patch.pixels
        return
    # Numpy is slow where it must spread one value over three channels, and 16 bits just hold what
    # two of 8 bits mixed come to: 255 · 255 + 127.
    alpha = cv2.merge((patch.alpha, patch.alpha, patch.alpha))
    mixed = np.multiply(patch.pixels, alpha, dtype=np.uint16)
    mixed += np.multiply(below, 255 - alpha, dtype=np.uint16)
    mixed += 127
    mixed //= 255
    below[:] = mixed


def _cut(pixels: Image, box: Box) -> Image:
    return pixels[box.y1 : box.y2, box.x1 : box.x2]


def _around(one: Box, other: Box) -> Box:
    """The smallest box that holds both."""
    if not (one.width and one.height):
        return other
    if not (other.width and other.height):
        return one
    return Box(
        min(one.x1, other.x1),
        min(one.y1, other.y1),
        max(one.x2, other.x2),
        max(one.y2, other.y2),
    )
