"""Where the lips' edges lie in one frame."""

import numpy as np
from numpy.typing import NDArray

from gpu_service.engines.facewarp.lips.bases import Basis
from gpu_service.engines.facewarp.portrait import Portrait
from gpu_service.engines.facewarp.warp.geometry import SEAM_U, Floats

_REACH = 2.0
"""How far beyond the middle of the mouth the tables reach, in half mouths."""
_STEPS = 2048
_BITE = 0.06
"""How far the upper teeth reach over the lower lip at an f, in half mouths."""
_LINE = 0.022
"""How wide the dark line is along which lips touch, on either lip, in half mouths."""
_SPREAD = 0.55
"""How fast the border between the two fields widens outside the mouth, a half mouth each."""


class LipProfile:
    """The displaced lip edges as functions of u, read by table.

    `upper` and `lower` are the edges themselves, `top` and `bottom` those of what is seen between.
    """

    def __init__(self, portrait: Portrait, coeffs: Floats) -> None:
        upper = np.stack((SEAM_U, portrait.edges.upper), axis=1)
        lower = np.stack((SEAM_U, portrait.edges.lower), axis=1)
        upper = upper + np.tensordot(coeffs, portrait.upper_edge_moves, 1)
        lower = lower + np.tensordot(coeffs, portrait.lower_edge_moves, 1)
        # The two fields differ by a trifle in the corners, where the lips are one.
        for end in (0, -1):
            upper[end] = lower[end] = (upper[end] + lower[end]) / 2
        at = np.linspace(-_REACH, _REACH, _STEPS)
        self.upper = _read(at, upper)
        self.lower = _read(at, lower)
        # Lips that touch in the picture take its line of shadow along: the mouth covers it.
        line = _LINE * np.clip((self.lower - self.upper) / 0.35, 0, 1) * portrait.edges.closed
        source = np.interp(at, np.maximum.accumulate(upper[:, 0]), SEAM_U)
        hair = np.interp(source, np.linspace(-1, 1, len(portrait.fringe)), portrait.fringe)
        self.top = (self.upper + hair - line).astype(np.float32)
        # Teeth that touch the lower lip stand before it.
        tuck = _BITE * float(coeffs[Basis.TUCK]) * np.clip(1 - (at / 0.6) ** 2, 0, 1)
        self.bottom = (self.lower + tuck + line).astype(np.float32)
        self.middle = (self.upper + self.lower) / 2
        left, right = float(upper[0, 0]), float(upper[-1, 0])
        outside = np.maximum(np.maximum(left - at, at - right), 0)
        self.outside = outside.astype(np.float32)

    def side(self, v: Floats, index: NDArray[np.intp], sharp: float) -> Floats:
        """0 above the seam, 1 below; soft outside the mouth, where the fields agree.

        Args:
            v: Places down the face, in half mouths.
            index: Of their u in the tables.
            sharp: Half the width of the border on the mouth itself, in half mouths.
        """
        softness = np.maximum(self.outside * _SPREAD, sharp)
        place = (v - self.middle[index]) / softness[index]
        return np.asarray(np.clip(place * 0.5 + 0.5, 0, 1), np.float32)

    @staticmethod
    def index(u: Floats) -> NDArray[np.intp]:
        """Where in the tables the values of u are."""
        place = (u + _REACH) * ((_STEPS - 1) / (2 * _REACH))
        index: NDArray[np.intp] = np.rint(place).astype(np.intp).clip(0, _STEPS - 1)
        return index


def _read(at: Floats, edge: Floats) -> Floats:
    return np.interp(at, np.maximum.accumulate(edge[:, 0]), edge[:, 1]).astype(np.float32)
