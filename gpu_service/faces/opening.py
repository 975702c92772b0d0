"""How far a mouth is open, from the landmarks of its face."""

from typing import Final

import numpy as np

from gpu_service.data import Landmarks

_UPPER_LIP, _LOWER_LIP = (13, 82, 312), (14, 87, 317)
_WEIGHTS: Final = np.array((0.5, 0.25, 0.25))
# Eyes, nose bridge, forehead and temples: nothing that jaw, lips or cheeks carry along.
_RIGID: Final = (
    33, 133, 362, 263, 168, 6, 197, 195, 5, 10, 151, 9, 8, 127, 356, 70, 300, 105, 334,
)  # fmt: skip
# The outer corners of the eyes are twice as far apart as those points are, in the mean, from their
# centre: 1.96 and 2.03 times were measured. Nineteen points are steadier than two: from frame to
# frame their size wanders by 0.3 % where the distance of the corners wanders by 0.6 %.
_EYES_PER_RADIUS: Final = 2.0


def mouth_opening(landmarks: Landmarks) -> float:
    """The gap between the inner lips, in distances between the outer corners of the eyes.

    Both are lengths in space, so neither a turn nor a tilt of the head changes the opening, as far
    as the depth of the landmarks is right; nor do the picture's size and the face's distance.

    Args:
        landmarks: Of the face.
    """
    gaps = np.linalg.norm(landmarks[list(_UPPER_LIP)] - landmarks[list(_LOWER_LIP)], axis=1)
    rigid = landmarks[list(_RIGID)]
    radius = np.sqrt(np.square(rigid - rigid.mean(axis=0)).sum(axis=1).mean())
    return float(_WEIGHTS @ gaps / max(_EYES_PER_RADIUS * radius, 1e-6))
