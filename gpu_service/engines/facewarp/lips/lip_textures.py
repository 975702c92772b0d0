"""The picture as either lip sees it: without the other lip and without what lies between."""

from dataclasses import dataclass

import cv2
import numpy as np

from gpu_service.data import Box, Image
from gpu_service.engines.facewarp.warp.fine_picture import FinePicture
from gpu_service.engines.facewarp.warp.geometry import SEAM_U, Floats, LipEdges, MouthFrame

MARGIN = 0.035
"""How far inside a lip, in half mouths, its own texture ends: landmarks miss the edge by as much,
and a rim of teeth or of shadow would show as a line along lips that close."""
DEPTH = 0.14
"""How much of the lip is mirrored beyond its edge, in half mouths."""


@dataclass(frozen=True)
class LipTextures:
    """Two versions of what surrounds the mouth, with one corner; away from it they are the same."""

    upper: FinePicture
    """Continued below the upper lip's edge."""
    lower: FinePicture
    """Continued above the lower lip's edge."""


def lip_textures(
    pixels: Image,
    whole: FinePicture,
    mouth: MouthFrame,
    edges: LipEdges,
    around: Box,
    hanging: float,
) -> LipTextures:
    """Continue each lip beyond its edge, where the source picture shows the inside of the mouth.

    Args:
        pixels: The region.
        whole: The same.
        mouth: In the region.
        edges: Of the lips.
        around: What of the region the mouth's pixels may come from.
        hanging: How far hair of the upper lip hangs below its edge, in half mouths.
    """
    if edges.closed and not hanging:
        return LipTextures(whole, whole)

    def fine(image: Image) -> FinePicture:
        part = np.ascontiguousarray(image[around.y1 : around.y2, around.x1 : around.x2])
        return FinePicture(part, (around.x1, around.y1))

    lowest = np.maximum(edges.lower, edges.upper + hanging + 2 * MARGIN)
    return LipTextures(
        fine(_continued(pixels, mouth, edges.upper, lowest, -1)),
        fine(pixels if edges.closed else _continued(pixels, mouth, edges.lower, edges.upper, 1)),
    )


def _continued(pixels: Image, mouth: MouthFrame, edge: Floats, other: Floats, inward: int) -> Image:
    """`inward` is the direction of v from the edge into the lip."""
    corners = np.array(
        [
            (u, v)
            for u in (-1.1, 1.1)
            for v in (edge.min() - 0.3, max(edge.max(), other.max()) + 0.3)
        ],
        np.float32,
    )
    points = mouth.pixels(corners)
    size = np.array([pixels.shape[1], pixels.shape[0]])
    x1, y1 = np.clip(np.floor(points.min(axis=0)).astype(int), 0, size - 1)
    x2, y2 = np.clip(np.ceil(points.max(axis=0)).astype(int) + 1, 1, size)
    x, y = np.meshgrid(np.arange(x1, x2, dtype=np.float32), np.arange(y1, y2, dtype=np.float32))
    local = mouth.local(np.stack((x, y), axis=-1))
    u, v = local[..., 0], local[..., 1]
    start = np.interp(u, SEAM_U, edge).astype(np.float32) + inward * MARGIN
    end = np.interp(u, SEAM_U, other).astype(np.float32) - inward * MARGIN
    beyond = -inward * (v - start)
    within = (beyond > 0) & (-inward * (v - end) < 0) & (np.abs(u) < 1.04)
    mirrored = start + inward * np.minimum(beyond, DEPTH)
    source = mouth.pixels(np.stack((u, np.where(within, mirrored, v)), axis=-1))
    part = cv2.remap(
        pixels, source[..., 0], source[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    result = pixels.copy()
    result[y1:y2, x1:x2][within] = part[within]
    return result
