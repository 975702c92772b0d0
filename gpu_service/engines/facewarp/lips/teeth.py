"""Teeth and a tongue that are drawn, for mouths whose photo shows none."""

from typing import NamedTuple

import numpy as np

from gpu_service.data import Landmarks
from gpu_service.engines.facewarp.lips.colours import MouthColours
from gpu_service.engines.facewarp.warp.geometry import LEFT_EAR, RIGHT_EAR, Floats

SOFT = 0.03
"""Over how much of half a mouth drawn edges fade."""


class _Tooth(NamedTuple):
    width: float
    """As seen from the front, in half mouths at rest."""
    short: float
    """How much shorter than the first tooth."""
    round: float
    """How much of its biting edge the rounded corners take off."""


# From the midline outwards; the arch turns away, so that its sides look narrower than they are.
_UPPER = (
    _Tooth(0.31, 0.0, 0.035),
    _Tooth(0.235, 0.03, 0.055),
    _Tooth(0.185, 0.004, 0.07),
    _Tooth(0.125, 0.035, 0.06),
    _Tooth(0.09, 0.055, 0.06),
)
_LOWER = (
    _Tooth(0.195, 0.0, 0.02),
    _Tooth(0.20, 0.005, 0.025),
    _Tooth(0.19, 0.0, 0.05),
    _Tooth(0.13, 0.02, 0.05),
)
_NOSE_ROOT, _CHIN = 168, 152
_GROWN = (0.68, 0.76)
_LIKENESS = (1.0, 0.975, 0.94, 0.95, 0.94)
_UPPER_DROP = 0.16
"""How far below the upper lip's edge at rest the upper teeth end, in half mouths at rest."""
_LOWER_RISE = 0.045
"""How far above the lower lip's edge at rest the lower teeth end; their tips alone are seen."""


def grown_teeth(landmarks: Landmarks) -> float:
    """How much of an adult's teeth a face has, by its proportions: 0 for babies, 1 from about five.

    From the root of the nose to the chin a baby's face is about two thirds of its width, an adult's
    nine tenths (Farkas, "Anthropometry of the Head and Face", 1994); of some 130 adults in photos,
    paintings and drawings, in MediaPipe's landmarks, none has less than 0.77.
    """

    def apart(one: int, other: int) -> float:
        return float(np.linalg.norm(landmarks[one] - landmarks[other]))

    share = apart(_NOSE_ROOT, _CHIN) / max(apart(LEFT_EAR, RIGHT_EAR), 1e-3)
    low, high = _GROWN
    return min(max((share - low) / (high - low), 0.0), 1.0)


def along_arch(u: Floats, middle: float, unit: float) -> Floats:
    """Where along the teeth, from the midline in half mouths at rest; a turn squeezes one side."""
    side = np.where(u < middle, 1 + middle, 1 - middle)
    return np.asarray((u - middle) / np.clip(side, 0.4, 1.6) / unit, np.float32)


def upper_teeth(along: Floats, below_rest: Floats, colours: MouthColours, grown: float) -> Floats:
    """(height, width, 4) premultiplied BGR and opacity.

    Args:
        along: (height, width) along the arch from the midline.
        below_rest: (height, width) how far below the upper lip's edge at rest, in half mouths at
            rest.
        colours: Of the face.
        grown: How much of them has grown, in [0, 1].
    """
    # The biting edges follow the lower lip's curve.
    drop = below_rest - _UPPER_DROP * grown + 0.11 * along**2
    return _row(_UPPER, along, drop, colours) * np.float32(min(2 * grown, 1.0))


def lower_teeth(along: Floats, below_rest: Floats, colours: MouthColours, grown: float) -> Floats:
    """(height, width, 4) likewise, seen from the lower lip's edge at rest."""
    row = _row(_LOWER, along, -below_rest - _LOWER_RISE * grown + 0.06 * along**2, colours)
    row[..., :3] *= 0.80
    return row * np.float32(min(2 * grown, 1.0))


def tongue(along: Floats, below_rest: Floats, colours: MouthColours) -> Floats:
    """(height, width, 4) the tongue's back: a mound that fades into the dark behind it."""
    distance = np.abs(along / 0.86) ** 2.6 + np.abs((below_rest - 0.34) / 0.78) ** 2
    opacity = _smooth((1 - distance) / 0.70)
    # What lies further back, higher in the picture, gets less light.
    shade = 0.50 + 0.50 * _smooth((below_rest + 0.30) / 0.36)
    shade *= 1 - 0.10 * np.exp(-((along / 0.06) ** 2)) - 0.25 * np.clip(np.abs(along), 0, 1) ** 2
    shade *= 1 + 0.7 * colours.tilt * along
    layer = colours.tongue * (shade * opacity)[..., None]
    return np.concatenate((layer, opacity[..., None]), axis=-1).astype(np.float32)


def over(top: Floats, bottom: Floats) -> Floats:
    """One premultiplied layer over another."""
    return top + bottom * (1 - top[..., 3:])


def _row(teeth: tuple[_Tooth, ...], along: Floats, drop: Floats, colours: MouthColours) -> Floats:
    """`drop` is how far beyond the first tooth's biting edge, negative on the teeth."""
    borders = np.concatenate(([0.0], np.cumsum([tooth.width for tooth in teeth])))
    place = np.abs(along)
    index = np.clip(np.searchsorted(borders, place, side="right") - 1, 0, len(teeth) - 1)
    half = (borders[1:] - borders[:-1])[index] / 2
    # -1 on the side of the midline, 1 on the far side.
    across = (place - borders[:-1][index] - half) / half
    short = np.array([tooth.short for tooth in teeth])[index]
    rounding = np.array([tooth.round for tooth in teeth])[index]
    # The corner that looks to the side is the rounder one.
    far = np.where(across > 0, 1.0, 0.55)
    edge = drop + short + rounding * far * np.abs(across) ** 4
    opacity = np.clip(0.5 - edge / SOFT, 0, 1) * _smooth((borders[-1] - place) / 0.12)
    height = np.clip(-edge / 0.36, 0, 1)
    # A dark band between neighbours would read as missing teeth; a shaded one as their gap. It
    # is narrower where they touch, and opens towards the biting edge.
    gap = _smooth((np.abs(across) - 0.87 + 0.09 * np.clip(1 - height / 0.35, 0, 1)) / 0.15)
    shade = (1 - 0.21 * gap) * (1 - 0.13 * across**2)
    # Enamel lets light through at its edge, and is brightest where the tooth bulges.
    shade *= 0.89 + 0.12 * _smooth(height / 0.30) - 0.10 * np.clip((height - 0.45) / 0.55, 0, 1)
    shade *= 1 - 0.62 * np.clip(place / borders[-1], 0, 1) ** 1.8
    shade *= 1 + 0.8 * colours.tilt * along
    # No two are alike, and each has its highlight.
    shade *= np.array(_LIKENESS)[index]
    shade += 0.06 * np.exp(-(((across + 0.15) / 0.35) ** 2) - ((height - 0.42) / 0.22) ** 2)
    layer = np.clip(colours.tooth * shade[..., None], 0, 255) * opacity[..., None]
    return np.concatenate((layer, opacity[..., None]), axis=-1).astype(np.float32)


def _smooth(value: Floats) -> Floats:
    """0 below 0, 1 above 1, without a kink between."""
    part = np.clip(value, 0, 1)
    return np.asarray(part * part * (3 - 2 * part), np.float32)
