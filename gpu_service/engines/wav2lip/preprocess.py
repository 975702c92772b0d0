"""A face in a frame to what the network sees: its box, its crop, and the crop as input."""

from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from contracts.lipsync import LipSyncOptions
from gpu_service.data import Box, FaceTrack, Frame, Image, Landmarks

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
Pads = tuple[float, float, float, float]
"""Pixels to add: top, bottom, left, right."""


def face_boxes(track: FaceTrack, options: LipSyncOptions) -> list[Box | None]:
    """What the network sees of each source frame; None where there is no face."""
    source = track.source
    pads = parse_pads(options.pads, source.scale)
    return [
        None if face is None else face_box(face.landmarks, pads, source.width, source.height)
        for face in track.faces
    ]


def parse_pads(text: str, scale: float) -> Pads:
    """`LipSyncOptions.pads`, which count in pixels of the upload, in pixels of the output."""
    top, bottom, left, right = (int(part) * scale for part in text.split(","))
    return top, bottom, left, right


def face_box(landmarks: Landmarks, pads: Pads, width: int, height: int) -> Box:
    """The box around a face as Wav2Lip was trained to see it.

    Wav2Lip's faces were cut out by the detector S3FD, whose boxes hold the face from the hairline
    to the chin and from cheek to cheek, upright also where the head is tilted. MediaPipe's outline
    of the face runs along the same places: top is its point on the forehead (10), bottom its chin
    (152), the sides its points before the ears (234, 454), so the box is the outline's bounding
    box, rounded to whole pixels. Then the pads are added, as in the release: by default 10 pixels
    beneath the chin.

    Args:
        landmarks: Of the face.
        pads: Pixels to add.
        width: Of the frame; the box ends there.
        height: Likewise.
    """
    outline = landmarks[list(OVAL), :2]
    low, high = outline.min(axis=0), outline.max(axis=0)
    top, bottom, left, right = pads
    x1 = min(max(round(float(low[0]) - left), 0), width - 2)
    y1 = min(max(round(float(low[1]) - top), 0), height - 2)
    x2 = max(min(round(float(high[0]) + right), width), x1 + 2)
    y2 = max(min(round(float(high[1]) + bottom), height), y1 + 2)
    return Box(x1, y1, x2, y2)


def crop_face(frame: Frame, box: Box) -> Image:
    """(96, 96, 3) the box's pixels, scaled as in training."""
    pixels = frame[box.y1 : box.y2, box.x1 : box.x2]
    side = (FACE_SIDE, FACE_SIDE)
    return np.asarray(cv2.resize(pixels, side, interpolation=cv2.INTER_LINEAR), np.uint8)


def network_faces(crops: Sequence[Image]) -> Floats:
    """(B, 6, 96, 96) in [0, 1]: each crop with its lower half hidden, then the crop, in BGR."""
    whole = np.stack(crops)
    hidden = whole.copy()
    hidden[:, HIDDEN_ROW:] = 0
    joined = np.concatenate((hidden, whole), axis=3) / 255.0
    return np.ascontiguousarray(joined.transpose(0, 3, 1, 2), np.float32)
