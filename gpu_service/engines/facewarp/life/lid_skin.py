"""Skin for lids that a photo does not show: continued from around the eye, with its grain."""

import cv2
import numpy as np
from numpy.typing import NDArray

from gpu_service.data import Image
from gpu_service.engines.facewarp.warp.geometry import Floats

LUMA = np.array([0.114, 0.587, 0.299], np.float32)
"""How much of a BGR colour's brightness each channel brings."""
_ROUNDS = 4
_DARKER, _AS_BRIGHT = 0.86, 0.96
"""Against the skin around it, what is darker than the first is none, the second is."""
_DEEPEST = 0.75
"""So dark the shade of a brow is at most; what is darker is hair."""


def continued_skin(pixels: Image, hole: NDArray[np.bool_], half_eye: float) -> Floats:
    """What the skin around an eye would be if it went on across it, without grain.

    Args:
        pixels: The eye and what surrounds it.
        hole: (height, width) where no skin is.
        half_eye: Pixels.

    Returns:
        (height, width, 3) BGR in 0..255.
    """
    image = pixels.astype(np.float32)
    luma = image @ LUMA
    known = np.where(hole, 0, 1).astype(np.float32)
    size = max(3, 2 * round(0.12 * half_eye) + 1)
    clean = cv2.morphologyEx(pixels, cv2.MORPH_CLOSE, np.ones((size, size), np.uint8))
    skin = _continued(clean.astype(np.float32), known)
    # What is darker than what surrounds it is lashes, brows and lines; each round knows better.
    for _ in range(_ROUNDS):
        ratio = luma / np.maximum(skin @ LUMA, 1.0)
        likely = np.clip((ratio - _DARKER) / (_AS_BRIGHT - _DARKER), 0, 1)
        skin = _continued(image, known * np.maximum(likely**2, 0.002).astype(np.float32))
        skin = cv2.GaussianBlur(skin, (0, 0), max(0.15 * half_eye, 0.8)).astype(np.float32)
    return skin


def shaded(
    skin: Floats, pixels: Image, from_brow: Floats, above: Floats, height: Floats, u: Floats
) -> Floats:
    """The skin of an upper lid as dark as it is in the shade of its brow.

    Args:
        skin: (height, width, 3) as if nothing shaded it.
        pixels: The eye and what surrounds it.
        from_brow: (height, width) from the brow (0) to the eye (1).
        above: How far above the open eye, in half eyes.
        height: How far the eye is open, in half eyes.
        u: Along the eye, from corner (-1) to corner (1).
    """
    zone = (from_brow > 0.35) & (from_brow < 0.85) & (above > 0.12) & (np.abs(u) < 0.8)
    if not zone.any():
        return skin
    ratio = (pixels[zone] @ LUMA) / np.maximum(skin[zone] @ LUMA, 1.0)
    shade = float(np.clip(np.percentile(ratio, 88), _DEEPEST, 1.0))
    light = np.clip(0.3 - above / np.maximum(height, 0.1), 0, 1)
    return np.asarray(skin * (shade + (1 - shade) * light)[..., None], np.float32)


def grain(
    pixels: Image, hole: NDArray[np.bool_], v: Floats, lower: Floats, margin: float
) -> Floats:
    """The grain of the skin beneath an eye, turned over at its lower lid.

    Args:
        pixels: The eye and what surrounds it.
        hole: (height, width) where no skin is.
        v: (height, width) down the eye, in half eyes.
        lower: (height, width) v of the open eye's lower edge.
        margin: How far beneath it the skin begins, in half eyes.

    Returns:
        (height, width, 3) what to add to smooth skin.
    """
    # Eyes of a face that lies or hangs in the picture are turned so that their lids go down it.
    turns = _turns_upright(v)
    upright = _grain(
        np.rot90(pixels, turns), np.rot90(hole, turns), np.rot90(v, turns),
        np.rot90(lower, turns), margin,
    )  # fmt: skip
    return np.ascontiguousarray(np.rot90(upright, -turns))


def _turns_upright(v: Floats) -> int:
    """How often a patch must be turned, counter-clockwise, for its rows to go down the eye."""
    down, across = float(v[-1, 0] - v[0, 0]) / len(v), float(v[0, -1] - v[0, 0]) / v.shape[1]
    if abs(down) >= abs(across):
        return 0 if down >= 0 else 2
    return 3 if across > 0 else 1


def _grain(
    pixels: Image, hole: NDArray[np.bool_], v: Floats, lower: Floats, margin: float
) -> Floats:
    """The same for an eye whose lids go down the patch."""
    image = pixels.astype(np.float32)
    fine = image - cv2.GaussianBlur(image, (0, 0), 1.5)
    limit = 2.0 * float(np.median(np.abs(fine[~hole]))) + 0.5
    fine[cv2.dilate(hole.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0] = 0
    turn = np.argmax(v - lower > margin, axis=0)
    rows = 2 * turn - np.arange(len(v))[:, None]
    # What lies too far above is turned over again at the patch's lower end.
    last = len(v) - 1
    rows = np.clip(last - np.abs(last - rows), 0, last)
    return np.asarray(np.clip(fine[rows, np.arange(v.shape[1])], -limit, limit), np.float32)


def _continued(image: Floats, weight: Floats) -> Floats:
    """The picture with what has no weight filled from all around, the smoother the further in."""
    levels: list[tuple[Floats, Floats]] = [(image * weight[..., None], weight)]
    while min(levels[-1][1].shape) > 2:
        value, share = levels[-1]
        levels.append(
            (cv2.pyrDown(value).astype(np.float32), cv2.pyrDown(share).astype(np.float32))
        )
    value, share = levels.pop()
    filled: Floats = value / np.maximum(share, 1e-6)[..., None]
    for value, share in reversed(levels):
        here = value / np.maximum(share, 1e-6)[..., None]
        rows, columns = share.shape
        filled = cv2.pyrUp(filled, dstsize=(columns, rows)).astype(np.float32)
        filled += (here - filled) * np.clip(4 * share, 0, 1)[..., None]
    return filled
