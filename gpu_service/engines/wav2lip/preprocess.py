"""A face in a frame to what the network sees: its crop, and the crop as input."""

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from gpu_service.data import Box, Frame, Image

FACE_SIDE: Final = 96
"""Side of the crops that the network takes and gives, in pixels."""
HIDDEN_ROW: Final = FACE_SIDE // 2
"""The network draws anew from this row down; above it, it sees the face."""
OVAL: Final = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
    152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)  # fmt: skip
"""The landmarks of the face's outline, around it from the forehead."""

Floats = NDArray[np.float32]


def crop_face(frame: Frame, box: Box) -> Image:
    """(96, 96, 3) the box's pixels, scaled as in training."""
    pixels = frame[box.y1 : box.y2, box.x1 : box.x2]
    side = (FACE_SIDE, FACE_SIDE)
    return np.asarray(cv2.resize(pixels, side, interpolation=cv2.INTER_LINEAR), np.uint8)


def network_faces(crops: NDArray[np.uint8]) -> Floats:
    """(B, 96, 96, 3) crops as input (B, 6, 96, 96): each with its lower half hidden, then whole."""
    hidden = crops.copy()
    hidden[:, HIDDEN_ROW:] = 0
    joined = np.concatenate((hidden, crops), axis=3) / 255.0
    return np.ascontiguousarray(joined.transpose(0, 3, 1, 2), np.float32)
