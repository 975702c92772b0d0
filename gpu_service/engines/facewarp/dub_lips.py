"""The lips of a video's frames, where and as bright as the reference has them."""

from typing import NamedTuple

import cv2
import numpy as np

from gpu_service.data import Frame, Image
from gpu_service.engines.facewarp.dub_motion import Place
from gpu_service.engines.facewarp.fine_picture import FinePicture
from gpu_service.engines.facewarp.geometry import SEAM_U, Floats
from gpu_service.engines.facewarp.lips import LipTextures
from gpu_service.engines.facewarp.portrait import Portrait

NO_MAP = np.empty((0, 0), np.float32)
"""cv2.remap takes both coordinates in its first map."""
_MARGIN = 0.035
"""How far inside a lip, in half mouths, its own texture ends, as for photos."""
_DEPTH = 0.14
"""How much of the lip is mirrored beyond its edge, in half mouths."""
_PARTED = 0.10
"""Lips that are this far apart, in half mouths at rest, no longer show the line on which they
meet: theirs is the reference's."""
_LINE = 0.07
"""How far from the seam that line may lie, in half mouths."""
_DARKEST = 0.3
"""How dark that line may be, as a share of the lips."""
_PAD = 2
"""Cells around the mouth area from which its lips may come."""
_GAIN_RANGE = (0.4, 2.5)


class SeenLips(NamedTuple):
    """The lips of one frame."""

    textures: LipTextures
    """As bright as in the reference."""
    around: Image
    """The region as the frame's movements and the shape's leave it, likewise; drawn in the mouth
    area only."""
    gain: Floats
    """(3,) how much brighter the frame is than the reference, in each channel."""


class DubLips:
    """Finds the lips of frames.

    Args:
        portrait: Of the reference.
    """

    def __init__(self, portrait: Portrait) -> None:
        self._portrait = portrait
        grid, area, cell = portrait.grid, portrait.area, portrait.grid.cell
        self._rows = slice(
            max(area.first_row - _PAD, 0) * cell,
            min((area.first_row + area.rows + _PAD) * cell, grid.height),
        )
        self._columns = slice(
            max(area.first_column - _PAD, 0) * cell,
            min((area.first_column + area.columns + _PAD) * cell, grid.width),
        )
        x, y = np.meshgrid(
            np.arange(self._columns.start, self._columns.stop, dtype=np.float32),
            np.arange(self._rows.start, self._rows.stop, dtype=np.float32),
        )
        self._pixels = np.stack((x, y), axis=-1)
        self._local = portrait.mouth.local(self._pixels)
        edges = portrait.edges
        seams = ((edges.upper, -1), (edges.lower, 1))
        self._beyond = [self._continued(edge, inward) - self._pixels for edge, inward in seams]
        self._line = [
            self._contact(edge, beyond)
            for (edge, _), beyond in zip(seams, self._beyond, strict=True)
        ]
        u, v = self._local[..., 0], self._local[..., 1]
        # Beside the lips a head that turns shows what is behind it.
        skin = (v < float(edges.upper.min()) - 0.3) & (np.abs(u) < 0.9)
        self._skin = skin.astype(np.uint8)
        self._skin_colour = self._mean_skin(portrait.pixels[self._rows, self._columns])

    def seen(self, frame: Frame, place: Place, own: list[Floats], offsets: Floats) -> SeenLips:
        """The lips of a frame.

        Args:
            frame: The source frame.
            place: Of the frame.
            own: What the upper and the lower lip do in it, on the portrait's grid, in pixels.
            offsets: Where the grid's nodes come from in all, relative to them, in pixels.
        """
        # What lies between parted lips is no lip, but lips that touch bring their own line.
        parted = float(np.clip(place.gap / _PARTED, 0, 1))
        images = [
            self._pulled(frame, place, self._pixels + parted * beyond, field)
            for beyond, field in zip(self._beyond, own, strict=True)
        ]
        gain = np.clip(self._mean_skin(images[0]) / self._skin_colour, *_GAIN_RANGE)
        corner = (self._columns.start, self._rows.start)
        upper, lower = (
            FinePicture(_lit(image, (1 + parted * (line - 1))[..., None] / gain), corner)
            for image, line in zip(images, self._line, strict=True)
        )
        around = np.zeros_like(self._portrait.pixels)
        blended = self._pulled(frame, place, self._pixels, offsets)
        around[self._rows, self._columns] = _lit(blended, 1 / gain)
        return SeenLips(LipTextures(upper, lower), around, np.asarray(gain, np.float32))

    def _pulled(self, frame: Frame, place: Place, points: Floats, field: Floats) -> Image:
        """The frame's colours at points of the reference's region."""
        grid = self._portrait.grid
        nodes = ((points + 0.5) / grid.cell - 0.5).astype(np.float32)
        points = points + cv2.remap(field, nodes, NO_MAP, cv2.INTER_LINEAR)
        points = points + np.array([grid.x, grid.y], np.float32)
        source = points @ place.to_frame[:, :2].T + place.to_frame[:, 2]
        pulled = cv2.remap(
            frame, source.astype(np.float32), NO_MAP, cv2.INTER_CUBIC,
            borderMode=cv2.BORDER_REPLICATE,
        )  # fmt: skip
        return np.asarray(pulled, np.uint8)

    def _mean_skin(self, image: Image) -> Floats:
        return np.maximum(np.array(cv2.mean(image, self._skin)[:3], np.float32), 1)

    def _continued(self, edge: Floats, inward: int) -> Floats:
        """(height, width, 2) pixels of the region in which beyond a lip's edge the lip is mirrored.

        Args:
            edge: (SEAM_POINTS,) the lip's edge.
            inward: The direction of v from the edge into the lip.
        """
        u, v = self._local[..., 0], self._local[..., 1]
        start = np.interp(u, SEAM_U, edge).astype(np.float32) + inward * _MARGIN
        beyond = -inward * (v - start)
        within = (beyond > 0) & (np.abs(u) < 1.04)
        mirrored = np.where(within, start + inward * np.minimum(beyond, _DEPTH), v)
        return self._portrait.mouth.pixels(np.stack((u, mirrored), axis=-1))

    def _contact(self, edge: Floats, beyond: Floats) -> Floats:
        """(height, width) how bright the line is on which the reference's lips meet; else 1."""
        plain = self._portrait.pixels[self._rows, self._columns]
        if not self._portrait.edges.closed:
            return np.ones(plain.shape[:2], np.float32)
        lip = cv2.remap(
            self._portrait.pixels, self._pixels + beyond, NO_MAP, cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )  # fmt: skip
        # Not from 0, or noise in the dark would count as much as light.
        ratio = (plain.mean(axis=2) + 6) / (lip.mean(axis=2) + 6)
        u, v = self._local[..., 0], self._local[..., 1]
        away = np.abs(v - np.interp(u, SEAM_U, edge)) / _LINE
        near = np.clip(1.5 - away, 0, 1) * (np.abs(u) < 1.04)
        return np.asarray(1 + (np.clip(ratio, _DARKEST, 1) - 1) * near, np.float32)


def _lit(image: Image, light: Floats) -> Image:
    """The image under another light: (height, width, 3) times (..., 3) or (height, width, 3)."""
    return np.rint(np.clip(image * light, 0, 255)).astype(np.uint8)
