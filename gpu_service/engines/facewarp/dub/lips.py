"""The lips of a video's frames, where and as bright as the reference has them."""

from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from gpu_service.data import Box, Frame, Image
from gpu_service.engines.facewarp.dub.motion import Place
from gpu_service.engines.facewarp.lips.lip_textures import DEPTH, MARGIN, LipTextures
from gpu_service.engines.facewarp.portrait import Portrait
from gpu_service.engines.facewarp.warp.fine_picture import FinePicture
from gpu_service.engines.facewarp.warp.geometry import NO_MAP, SEAM_U, Floats

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
_SKIN_STEP = 7
"""Of so many pixels of skin, one is looked at."""


class SeenLip(FinePicture):
    """One lip of a frame, read where the reference has it; as bright as in the reference.

    Instead of a picture that is enlarged, the frame itself is read, and only where it is wanted.
    """

    def __init__(
        self,
        frame: Frame,
        to_frame: Floats,
        places: Floats,
        source: Floats,
        light: Floats,
        corner: tuple[int, int],
    ) -> None:
        """Keep what is read.

        Args:
            frame: The source frame.
            to_frame: (2, 3) of its place.
            places: (height, width, 2) the pixels of the reference's region.
            source: (height, width, 2) how far from a pixel of the mouth area the frame shows it, in
                pixels of the reference.
            light: (height, width, 3) how bright the reference has it, to the frame.
            corner: The x and y in the region of the first pixel of the mouth area.
        """
        self._frame, self._places = frame, places
        self._linear, self._shift = to_frame[:, :2], to_frame[:, 2]
        self._source, self._light = source, light
        self._first = np.array(corner, np.float32)

    def places(self, box: Box) -> Floats:
        """(height, width, 2) the pixels of a rectangle of the region."""
        return self._places[box.y1 : box.y2, box.x1 : box.x2]

    def pull(self, places: Floats, offsets: Floats) -> Image:
        """The frame's colours at `places + offsets`, as the reference is lit."""
        points = places + offsets
        in_area = points - self._first
        border = cv2.BORDER_REPLICATE
        moved = cv2.remap(self._source, in_area, NO_MAP, cv2.INTER_LINEAR, borderMode=border)
        light = cv2.remap(self._light, in_area, NO_MAP, cv2.INTER_LINEAR, borderMode=border)
        at = (points + moved) @ self._linear.T + self._shift
        seen = cv2.remap(self._frame, at, NO_MAP, cv2.INTER_CUBIC, borderMode=border)
        return _lit(np.asarray(seen, np.uint8), light)


class SeenLips(NamedTuple):
    """The lips of one frame."""

    textures: LipTextures
    whole: FinePicture
    """Both, and what is between them."""
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
        every_x, every_y = np.arange(grid.width), np.arange(grid.height)
        self._places = np.stack(np.meshgrid(every_x, every_y), axis=-1).astype(np.float32)
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
        middle = (edges.upper + edges.lower) / 2
        self._below = (v > np.interp(u, SEAM_U, middle))[..., None]
        skin = (v < float(edges.upper.min()) - 0.3) & (np.abs(u) < 0.9)
        self._skin_points = self._pixels[skin][None, ::_SKIN_STEP]
        self._skin_colour = _mean_colour(portrait.pixels[self._rows, self._columns][skin])

    def seen(self, frame: Frame, place: Place, own: list[Floats]) -> SeenLips:
        """The lips of a frame.

        Args:
            frame: The source frame.
            place: Of the frame.
            own: What the upper and the lower lip do in it, on the portrait's grid, in pixels.
        """
        # What lies between parted lips is no lip, but lips that touch bring their own line.
        parted = float(np.clip(place.gap / _PARTED, 0, 1))
        grid = self._portrait.grid
        to_region = place.to_frame.copy()
        to_region[:, 2] += place.to_frame[:, :2] @ np.array([grid.x, grid.y], np.float32)
        gain = np.clip(
            self._skin_seen(frame, to_region, own[0]) / self._skin_colour, *_GAIN_RANGE
        ).astype(np.float32)
        corner = (self._columns.start, self._rows.start)
        lips = []
        for beyond, line, field in zip(self._beyond, self._line, own, strict=True):
            source = parted * beyond
            nodes = (self._pixels + source + 0.5) / grid.cell - 0.5
            source += cv2.remap(field, nodes, NO_MAP, cv2.INTER_LINEAR)
            light = (1 + parted * (line - 1))[..., None] / gain
            lips.append(SeenLip(frame, to_region, self._places, source, light, corner))
        nodes = (self._pixels + 0.5) / grid.cell - 0.5
        upper, lower = (cv2.remap(field, nodes, NO_MAP, cv2.INTER_LINEAR) for field in own)
        source = np.where(self._below, lower, upper)
        light = np.broadcast_to(1 / gain, (*source.shape[:2], 3)).copy()
        whole = SeenLip(frame, to_region, self._places, source, light, corner)
        return SeenLips(LipTextures(lips[0], lips[1]), whole, gain)

    def _skin_seen(self, frame: Frame, to_region: Floats, field: Floats) -> Floats:
        """(3,) the frame's mean colour of what is skin in the reference."""
        points = self._skin_points
        nodes = (points + 0.5) / self._portrait.grid.cell - 0.5
        points = points + cv2.remap(field, nodes, NO_MAP, cv2.INTER_LINEAR)
        at = points @ to_region[:, :2].T + to_region[:, 2]
        seen = cv2.remap(
            frame, at, NO_MAP, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )  # fmt: skip
        return _mean_colour(seen)

    def _continued(self, edge: Floats, inward: int) -> Floats:
        """(height, width, 2) pixels of the region in which beyond a lip's edge the lip is mirrored.

        Args:
            edge: (SEAM_POINTS,) the lip's edge.
            inward: The direction of v from the edge into the lip.
        """
        u, v = self._local[..., 0], self._local[..., 1]
        start = np.interp(u, SEAM_U, edge).astype(np.float32) + inward * MARGIN
        beyond = -inward * (v - start)
        within = (beyond > 0) & (np.abs(u) < 1.04)
        mirrored = np.where(within, start + inward * np.minimum(beyond, DEPTH), v)
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


def _lit(image: NDArray[Any], light: NDArray[Any]) -> Image:
    """The image under another light: (height, width, 3) times (..., 3) or (height, width, 3)."""
    return np.asarray(np.rint(np.clip(image * light, 0, 255)), np.uint8)


def _mean_colour(pixels: NDArray[Any]) -> Floats:
    """(3,) of (..., 3), at least 1."""
    return np.asarray(np.maximum(pixels.reshape(-1, 3).mean(axis=0), 1), np.float32)
