"""Tells where a video cuts to another scene."""

from collections import deque
from enum import Enum
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from gpu_service.data import Frame

CUT: Final = 30.0
"""Mean change of a frame's thumbnail, in grey levels, that makes it the first of another scene: a
speaker who moves was measured at 0.4 from frame to frame, other pictures from 84 up."""
SUDDEN: Final = 5.0
"""Mean change from which a cut between dim or similar pictures is thought of, ..."""
SURGE: Final = 5.0
"""... if it is also so many times the change of late. A camera that shakes changes by 16 grey
levels from frame to frame, but goes on doing so."""
CHANGED: Final = 4.0
"""Change of one cell that counts, in grey levels."""
WIDE: Final = 0.5
"""Share of the cells beyond which the whole picture has changed, and not only what moves in it."""
_SIDE: Final = 32
_LATE: Final = 12
"""Frames of which the change of late is the median."""


class Change(Enum):
    """How a frame follows the one before."""

    NONE = 0
    SUDDEN = 1
    """Part of the picture changed at once: a cut, if its face is another one too."""
    CUT = 2


class Scenes:
    """Looks at the frames of a video in their order."""

    def __init__(self) -> None:
        self._before: NDArray[np.float32] | None = None
        self._late: deque[float] = deque(maxlen=_LATE)

    def look(self, frame: Frame) -> Change:
        """What the next frame is to the last one."""
        small = cv2.resize(frame, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
        thumbnail = cv2.cvtColor(small, cv2.COLOR_BGR2GRAY).astype(np.float32)
        before, self._before = self._before, thumbnail
        if before is None:
            return Change.NONE
        cells = np.abs(thumbnail - before)
        change, usual = float(cells.mean()), float(np.median(self._late or (0.0,)))
        self._late.append(change)
        if change > CUT:
            return Change.CUT
        if change < max(SUDDEN, SURGE * usual):
            return Change.NONE
        return Change.CUT if float((cells > CHANGED).mean()) > WIDE else Change.SUDDEN
