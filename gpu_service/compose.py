"""Patches onto frames."""

import numpy as np

from gpu_service.data import FacePatch, Frame


def compose(frame: Frame, patch: FacePatch) -> Frame:
    """A copy of the frame with the patch on it; pixels outside the patch stay as they are."""
    composed = frame.copy()
    x1, y1, x2, y2 = patch.box
    if patch.alpha is None:
        composed[y1:y2, x1:x2] = patch.pixels
        return composed
    below = composed[y1:y2, x1:x2].astype(np.int32)
    alpha = patch.alpha[..., np.newaxis].astype(np.int32)
    mixed = (patch.pixels * alpha + below * (255 - alpha) + 127) // 255
    composed[y1:y2, x1:x2] = mixed.astype(np.uint8)
    return composed
