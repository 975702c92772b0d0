"""Hair that hangs over the upper lip: it stays in front of the teeth."""

import cv2
import numpy as np

from gpu_service.data import Image, Landmarks
from gpu_service.engines.facewarp.lips.colours import BLUE_GREEN_RED
from gpu_service.engines.facewarp.warp.geometry import (
    SEAM_U,
    Floats,
    LipEdges,
    MouthFrame,
    edge_through,
)

_UPPER_OUTER = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291)
_HAIR = (0.07, 0.11)
"""From where to where the roughness of the skin above the lip means hair: of 26 clean-shaven or
stubbly portraits none had more than 0.055, of 10 moustaches all but a soft one more than 0.098."""
_COVERED = (0.065, 0.11)
"""Likewise of the upper lip itself, on which lips' own wrinkles have up to 0.073."""
_SHORTEST, _LONGEST = 0.05, 0.15
"""How far strands hang below the lip's edge, in half mouths."""
_STRANDS = 57
FRINGE_POINTS = 256
"""Places from corner to corner at which the fringe is sampled."""


def fringe(image: Image, landmarks: Landmarks, mouth: MouthFrame, edges: LipEdges) -> Floats:
    """How far hair hangs below the upper lip's edge.

    Args:
        image: The picture.
        landmarks: (478, 3) in it.
        mouth: In it.
        edges: Of the lips.

    Returns:
        (FRINGE_POINTS,) half mouths, from corner to corner; zeros where no hair covers the lip.
    """
    outer = edge_through(mouth.local(landmarks[list(_UPPER_OUTER), :2]) / np.array([1.08, 1.0]))
    hair = _within(_roughness(image, mouth, outer - 0.22, outer - 0.06), _HAIR)
    covered = _within(_roughness(image, mouth, edges.upper - 0.09, edges.upper - 0.02), _COVERED)
    u = np.linspace(-1, 1, FRINGE_POINTS)
    ends = np.random.default_rng(0).uniform(_SHORTEST, _LONGEST, _STRANDS)
    length = np.interp(u, np.linspace(-1, 1, _STRANDS), ends)
    length *= np.clip((0.95 - np.abs(u)) / 0.3, 0, 1)
    return np.asarray(hair * covered * length, np.float32)


def _roughness(image: Image, mouth: MouthFrame, high: Floats, low: Floats) -> float:
    """How much brightness changes from point to point along a strip of the middle of the mouth."""
    v = high + np.linspace(0, 1, 9)[:, None] * (low - high)
    at = mouth.pixels(np.stack((np.broadcast_to(SEAM_U, v.shape), v), axis=-1))
    colours = cv2.remap(
        image, at[..., 0], at[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    luma = (colours.astype(np.float32) @ BLUE_GREEN_RED)[:, np.abs(SEAM_U) < 0.6]
    return float(np.median(np.abs(np.diff(luma, axis=1)))) / max(float(luma.mean()), 10.0)


def _within(value: float, limits: tuple[float, float]) -> float:
    low, high = limits
    return min(max((value - low) / (high - low), 0.0), 1.0)
