"""What the head and the eyes do while the mouth speaks."""

from typing import NamedTuple


class Pose(NamedTuple):
    """The head and the eyes in one frame, relative to the photo.

    Right and down are those of the picture where the head is upright in it, and turn with the head.
    """

    yaw: float
    """Turn to the right, in degrees."""
    pitch: float
    """Nod downwards, in degrees."""
    roll: float
    """Tilt to the right, in degrees."""
    x: float
    """Shift to the right, in face widths."""
    y: float
    """Shift downwards, in face widths."""
    brow: float
    """How far the brows are raised, in [0, 1]."""
    blink: float
    """How far the lids have closed, in [0, 1]."""


AS_IN_THE_PHOTO = Pose(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
"""Nothing has moved."""

LARGEST_TURN = 6.0
"""Beyond so many degrees a photo looks bent."""
LARGEST_SHIFT = 0.03
"""In face widths."""
