"""Patches onto frames."""

import cv2
import numpy as np

from gpu_service.data import FacePatch, Frame


def compose(frame: Frame, patch: FacePatch) -> Frame:
    """A copy of the frame with the patch on it; pixels outside the patch stay as they are."""
    # On the CPU whatever drew the patch: the frame comes from one codec there and goes to another,
    # and whole frames both ways would be several times what a patch is.
    composed = frame.copy()
    x1, y1, x2, y2 = patch.box
    below = composed[y1:y2, x1:x2]
    if patch.alpha is None:
        below[:] = patch.pixels
        return composed
    # Numpy is slow where it must spread one value over three channels, and 16 bits just hold what
    # two of 8 bits mixed come to: 255 · 255 + 127.
    alpha = cv2.merge((patch.alpha, patch.alpha, patch.alpha))
    mixed = np.multiply(patch.pixels, alpha, dtype=np.uint16)
    mixed += np.multiply(below, 255 - alpha, dtype=np.uint16)
    mixed += 127
    mixed //= 255
    below[:] = mixed
    return composed
