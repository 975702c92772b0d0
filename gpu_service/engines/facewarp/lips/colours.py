"""What light falls on a face, and what grain and blur its photo has: drawn parts take them on."""

from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np

from gpu_service.data import Image
from gpu_service.engines.facewarp.warp.geometry import Floats

BLUE_GREEN_RED = np.array([0.114, 0.587, 0.299], np.float32)
_SKIN = (50, 205, 187, 280, 425, 411, 199, 200)
_LEFT_CHEEK, _RIGHT_CHEEK = (50, 205, 187), (280, 425, 411)
_LIPS = (37, 0, 267, 11, 72, 302, 84, 17, 314, 85, 16, 315)
_EYES = ((33, 160, 158, 133, 153, 144), (362, 385, 387, 263, 373, 380))
_NATURAL_CHROMA = 0.35
"""How far a channel of skin under white light is from its luma, of that luma."""
_BRIGHTER = 1.5
"""How much brighter than the cheeks teeth are at most: they are white, but in the lips' shade."""
_TOOTH = 1.12
"""How bright teeth are, of lit cheeks: 1.25 in the median of 22 broad smiles, which bare them more
to the light than speech does."""
_IVORY = np.array([-0.025, 0.003, 0.004], np.float32)
"""How far teeth are from white, of their luma; the same smiles."""
_TONGUE_REDNESS = 0.36
"""How much less green than red a tongue is at least, of the red."""
_BLUR_SIGMAS = (4.0, 2.0, 1.0, 0.0)
_BLUR_RATIOS = (0.30, 0.38, 0.50, 0.64)
"""How much detail between 0.7 and 1.4 pixels a face has, of that between 1.4 and 2.8, when it is
blurred by a Gaussian of these sigmas; medians of 16 portraits that were blurred so."""
_FINEST = 1.4826 / 0.72
"""A median deviation as a standard one, of which the finest detail holds this share in noise."""
_MOST_GRAIN = 12.0


@dataclass(frozen=True)
class MouthColours:
    """Colours of what a closed mouth hides, from the face around it; BGR."""

    cavity: Floats
    tongue: Floats
    tooth: Floats
    tilt: float
    """How much brighter the picture's right side is lit, in [-1, 1]."""
    skin_luma: float


@dataclass(frozen=True)
class Texture:
    """How fine the photo is."""

    blur: float
    """Sigma of the Gaussian that it looks blurred by, in pixels."""
    grain: float
    """Standard deviation of the finest detail in its skin, in grey levels."""


def mouth_colours(pixels: Image, points: Floats) -> MouthColours:
    """Guess the colours of the mouth's inside.

    Args:
        pixels: The picture.
        points: (478, 2) landmarks in it; those of a face that its border cuts lie outside.
    """
    smooth = np.asarray(cv2.blur(pixels, (3, 3)), np.uint8)

    def colours(index: tuple[int, ...]) -> Floats:
        at = np.rint(points[list(index)]).astype(int)
        x, y = at[:, 0].clip(0, pixels.shape[1] - 1), at[:, 1].clip(0, pixels.shape[0] - 1)
        return np.asarray(smooth[y, x], np.float32)

    skin, lip = np.median(colours(_SKIN), axis=0), np.median(colours(_LIPS), axis=0)
    skin_luma, lip_luma = float(skin @ BLUE_GREEN_RED), float(lip @ BLUE_GREEN_RED)
    cheeks = colours(_LEFT_CHEEK + _RIGHT_CHEEK) @ BLUE_GREEN_RED
    left, right = float(cheeks[:3].mean()), float(cheeks[3:].mean())
    lit = float(np.percentile(cheeks, 80))
    # Dark skin says little of the light; the whites of the eyes do.
    white = min(_eye_white(smooth, points), _BRIGHTER * lit)
    tooth_luma = float(np.clip(max(_TOOTH * lit, white), 45, 230))
    return MouthColours(
        cavity=_tinted(0.13 * lip_luma, lip - lip_luma, 0.30),
        tongue=_tinted(0.78 * lip_luma, lip - lip_luma, 0.85 * _redder(lip)),
        tooth=np.clip(tooth_luma * _white(skin / max(skin_luma, 1.0)), 0, 255),
        tilt=float(np.clip((right - left) / max(right + left, 1.0), -0.4, 0.4)),
        skin_luma=skin_luma,
    )


def photo_texture(pixels: Image, points: Floats) -> Texture:
    """How blurred and how grainy a photo is on its face.

    Args:
        pixels: The picture.
        points: (478, 2) landmarks in it.
    """
    height, width = pixels.shape[:2]
    size = np.array([width, height])
    x1, y1 = np.clip(points.min(axis=0).astype(int), 0, size - 2).tolist()
    x2, y2 = np.clip(points.max(axis=0).astype(int) + 1, (x1 + 2, y1 + 2), size).tolist()
    luma = pixels[y1:y2, x1:x2].astype(np.float32) @ BLUE_GREEN_RED
    levels = [luma, *(cv2.GaussianBlur(luma, (0, 0), sigma) for sigma in (0.7, 1.4, 2.8))]
    finest, fine, coarse = (one - other for one, other in pairwise(levels))
    ratio = float(fine.std()) / max(float(coarse.std()), 1e-3)
    blur = float(np.interp(ratio, _BLUR_RATIOS, _BLUR_SIGMAS))
    # Most of a face is smooth skin; a median does not see its edges.
    grain = _FINEST * float(np.median(np.abs(finest)))
    return Texture(blur, min(grain, _MOST_GRAIN))


def _eye_white(smooth: Image, points: Floats) -> float:
    """Luma of what is bright in the eyes, 0 where they are too small to say."""
    lumas = []
    for eye in _EYES:
        corners = points[list(eye)]
        if np.ptp(corners[:, 1]) < 5:
            continue
        x, y = np.floor(corners.min(axis=0)).astype(int).clip(0)
        part = smooth[
            y : y + int(np.ptp(corners[:, 1])) + 2, x : x + int(np.ptp(corners[:, 0])) + 2
        ]
        if not part.size:
            continue
        mask = np.zeros(part.shape[:2], np.uint8)
        cv2.fillConvexPoly(mask, np.rint(corners - (x, y)).astype(np.int32), 1)
        # Nothing of an eye that the picture's border cuts off may lie in the part.
        if mask.any():
            lumas.append(part[mask > 0].astype(np.float32) @ BLUE_GREEN_RED)
    return float(np.percentile(np.concatenate(lumas), 75)) if lumas else 0.0


def _white(skin: Floats) -> Floats:
    """(3,) the colour of white under the light of a face, at luma 1.

    Args:
        skin: (3,) the face's colour at luma 1.
    """
    chroma = skin - 1
    strongest = max(float(np.abs(chroma).max()), 1e-3)
    natural = chroma * min(1.0, _NATURAL_CHROMA / strongest)
    # Grey pictures stay grey.
    ivory = _IVORY * min(1.0, strongest / 0.15)
    # What exceeds the colour of any skin is the light's own, or the painter's: it falls on teeth
    # as it does on the whites of the eyes.
    return np.asarray(1 + ivory + 0.22 * natural + 0.9 * (chroma - natural), np.float32)


def _redder(lip: Floats) -> float:
    """By how much a tongue is to be more coloured than pale lips; grey ones have no colour."""
    redness = float(lip[2] - lip[1]) / max(float(lip[2]), 1.0)
    return float(np.clip(_TONGUE_REDNESS / max(redness, 1e-3), 1.0, 1.8))


def _tinted(luma: float, chroma: Floats, share: float) -> Floats:
    return np.asarray(np.clip(luma + share * chroma, 0, 255), np.float32)
