"""What the photo itself shows between the lips: teeth, or the inside of a mouth that is open."""

import cv2
import numpy as np
from scipy.ndimage import median_filter

from gpu_service.data import Image
from gpu_service.engines.facewarp.lips.colours import BLUE_GREEN_RED, MouthColours
from gpu_service.engines.facewarp.warp.geometry import SEAM_U, Floats, LipEdges, MouthFrame

_SHOWN_TEETH = 0.20
"""Teeth shorter than this in the photo, in half mouths at rest, are drawn instead."""
_FIRST_TEETH = 0.30
"""Teeth begin within this of the upper lip, in half mouths; what is bright below is the tongue."""
_PALE = 0.8
"""How red teeth are at most, of the lips: a tongue is as red as they are."""
_SOFT = 0.03


def photo_teeth(
    pixels: Image, mouth: MouthFrame, edges: LipEdges, colours: MouthColours, unit: float,
    u: Floats, v: Floats,
) -> Floats | None:  # fmt: skip
    """The photo's own upper teeth, or None where it shows too little of them.

    Args:
        pixels: The region.
        mouth: In the region.
        edges: Of the lips, which are apart.
        colours: Of the face.
        unit: Half a mouth at rest, in half mouths of the picture.
        u: (height, width) of the mouth area's pixels.
        v: Likewise.

    Returns:
        (height, width, 4) premultiplied BGR and opacity.
    """
    bottom = _tooth_bottom(pixels, mouth, edges, colours)
    front = np.abs(SEAM_U) < 0.5
    if float(np.percentile((bottom - edges.upper)[front], 25)) < _SHOWN_TEETH * unit:
        return None
    return _shown(pixels, mouth, edges.upper, bottom, u, v)


def photo_inside(pixels: Image, mouth: MouthFrame, edges: LipEdges, u: Floats, v: Floats) -> Floats:
    """(height, width, 4) all that the photo shows between the lips, likewise."""
    bottom = np.maximum(edges.lower - 0.04, edges.upper)
    return _shown(pixels, mouth, edges.upper, bottom, u, v)


def _shown(
    pixels: Image, mouth: MouthFrame, top: Floats, bottom: Floats, u: Floats, v: Floats
) -> Floats:
    low = np.interp(u, SEAM_U, bottom).astype(np.float32)
    high = np.interp(u, SEAM_U, top).astype(np.float32) + 0.04
    source_v = np.clip(v, high, np.maximum(low, high))
    source = mouth.pixels(np.stack((np.clip(u, -0.97, 0.97), source_v), axis=-1))
    image = cv2.remap(
        pixels, source[..., 0], source[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    ).astype(np.float32)
    # At least a pixel wide, or the edge would show steps.
    soft = max(_SOFT, 1.3 / mouth.half_mouth)
    opacity = np.clip((low - v) / soft + 1, 0, 1) * np.clip((1.0 - np.abs(u)) / 0.1, 0, 1)
    return np.concatenate((image * opacity[..., None], opacity[..., None]), axis=-1).astype(
        np.float32
    )


def _tooth_bottom(
    pixels: Image, mouth: MouthFrame, edges: LipEdges, colours: MouthColours
) -> Floats:
    """(SEAM_POINTS,) v to which the photo's upper teeth reach; the lip's edge where none are."""
    levels = np.linspace(0.05, 0.97, 32, dtype=np.float32)[:, None]
    sample_v = edges.upper + levels * (edges.lower - edges.upper)
    at = mouth.pixels(np.stack((np.broadcast_to(SEAM_U, sample_v.shape), sample_v), axis=-1))
    sampled = cv2.remap(pixels, at[..., 0], at[..., 1], cv2.INTER_LINEAR).astype(np.float32)
    luma = sampled @ BLUE_GREEN_RED
    # In grey pictures everything is pale.
    pale = _redness(sampled) < max(_PALE * float(_redness(colours.tongue)), 0.1)
    bright = float(np.percentile((luma * pale)[:, np.abs(SEAM_U) < 0.75], 85))
    if bright < 0.60 * colours.skin_luma:
        return edges.upper
    near = levels * (edges.lower - edges.upper) < _FIRST_TEETH
    is_tooth = (luma > 0.62 * bright) & pale
    is_tooth &= np.maximum.accumulate(is_tooth & near, axis=0)
    # The first bright run counts: what is bright below a dark stretch are lower teeth.
    started = np.maximum.accumulate(is_tooth, axis=0)
    ended = np.maximum.accumulate(started & ~is_tooth, axis=0)
    length = (started & ~ended).sum(axis=0)
    # Teeth in the corners' shade are dark; they end where their neighbours let expect it.
    usual = float(np.median(length[np.abs(SEAM_U) < 0.5]))
    if not usual:
        return edges.upper
    shown = np.flatnonzero(length > 0.4 * usual)
    last = (is_tooth.argmax(axis=0) + length - 1).clip(0, len(levels) - 1)
    share = np.interp(SEAM_U, SEAM_U[shown], median_filter(levels[last[shown], 0], 5))
    bottom = edges.upper + share * (edges.lower - edges.upper)
    bottom = np.minimum(bottom, np.maximum(edges.lower - 0.03, edges.upper))
    return np.asarray(np.convolve(np.pad(bottom, 2, mode="edge"), np.full(5, 0.2), "valid"))


def _redness(colours: Floats) -> Floats:
    """How much redder than green; yellow teeth are not, where tongues are."""
    red, green = colours[..., 2], colours[..., 1]
    return np.asarray((red - green) / np.maximum(red, 1), np.float32)
