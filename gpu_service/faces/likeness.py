"""Whether a face looks like the one that has been followed so far."""

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from gpu_service.data import Frame, Landmarks

ALIKE: Final = 0.8
"""Correlation of two looks from which they show one person: one person, also tilted, in other light
or out of focus, was measured from 0.91 up; other people to 0.74, a face half hidden at 0.6."""
_SIDE: Final = 24
_LEARN: Final = 0.1
"""How much of the latest look is kept, so that slow changes of light don't make a stranger."""
_FOREHEAD, _CHIN = 10, 152

Look = NDArray[np.float32]
"""A face's colours in 24 x 24 cells, upright, less their mean, of length 1."""


class Likeness:
    """Remembers how one face looks. It knows nobody across seconds of other light or a profile."""

    def __init__(self) -> None:
        self._known: Look | None = None

    def known(self, frame: Frame, landmarks: Landmarks) -> bool:
        """Whether this is the face that was remembered; anybody is while none has been."""
        return self._known is None or float((self._known * look(frame, landmarks)).sum()) > ALIKE

    def remember(self, frame: Frame, landmarks: Landmarks) -> None:
        """Learn how the face looks now, unless something hides it."""
        latest = look(frame, landmarks)
        if self._known is None:
            self._known = latest
        elif float((self._known * latest).sum()) > ALIKE:
            mixed = (1 - _LEARN) * self._known + _LEARN * latest
            self._known = mixed / np.linalg.norm(mixed)

    def forget(self) -> None:
        """Remember nobody."""
        self._known = None


def look(frame: Frame, landmarks: Landmarks) -> Look:
    """How a face looks, whatever its place, size, tilt and brightness."""
    points = landmarks[:, :2]
    middle = (points[_FOREHEAD] + points[_CHIN]) / 2
    up = 0.6 * (points[_FOREHEAD] - points[_CHIN])
    right = np.array([-up[1], up[0]], np.float32)
    corners = np.stack((middle + up - right, middle + up + right, middle - up - right))
    side = 4 * _SIDE
    target = np.array([[0, 0], [side, 0], [0, side]], np.float32)
    to_look = cv2.getAffineTransform(corners.astype(np.float32), target)
    face = cv2.warpAffine(frame, to_look, (side, side), borderMode=cv2.BORDER_REPLICATE)
    small = cv2.resize(face, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    small = np.asarray(cv2.GaussianBlur(small, (0, 0), 1.0), np.float32)
    small -= small.mean()
    return np.asarray(small / max(float(np.linalg.norm(small)), 1e-6), np.float32)
