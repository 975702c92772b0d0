"""Draws mouth shapes into the frames of a video, in place of the mouths that they show."""

import math
from dataclasses import replace
from typing import NamedTuple

import cv2
import numpy as np

from gpu_service.data import Box, Frame, Image
from gpu_service.engines.facewarp.dub.lips import DubLips
from gpu_service.engines.facewarp.dub.motion import Motion, Place
from gpu_service.engines.facewarp.lips.lip_profile import LipProfile
from gpu_service.engines.facewarp.lips.mouth_painter import MouthPainter
from gpu_service.engines.facewarp.portrait import Portrait
from gpu_service.engines.facewarp.renderer import Renderer
from gpu_service.engines.facewarp.shape import MouthShape
from gpu_service.engines.facewarp.warp.geometry import NO_MAP, Floats
from gpu_service.engines.facewarp.warp.inverse import inverse

_FEATHER = 0.28
"""How wide the border is, in half mouths, over which what is painted goes over into the frame."""


class Drawn(NamedTuple):
    """A part of a frame."""

    box: Box
    pixels: Image


class DubRenderer:
    """Draws shapes into frames; a shape always gives the same pixels in the same frame.

    A pixel of a frame is found in the reference, from there the shape's fields say which point of
    the reference comes to lie there, and the fields of the frame's own movements where the frame
    shows that point. So skin and lips are the frame's own, with its light and its blur, resampled
    once, while the mouth takes the same shape whatever it did in the frame.

    Args:
        portrait: Of the reference.
        motion: Of the video.
    """

    def __init__(self, portrait: Portrait, motion: Motion) -> None:
        self._portrait, self._motion = portrait, motion
        self._renderer = Renderer(portrait)
        self._lips = DubLips(portrait)
        grid, area = portrait.grid, portrait.area
        columns, rows = np.meshgrid(
            np.arange(grid.columns, dtype=np.float32), np.arange(grid.rows, dtype=np.float32)
        )
        self._nodes = np.stack((columns, rows), axis=-1)
        self._node_index = LipProfile.index(portrait.node_uv[..., 0])
        self._corner = np.array([grid.x, grid.y], np.float32)
        moves = (portrait.upper_fields != 0) | (portrait.lower_fields != 0)
        moving = np.argwhere(moves.any(axis=(0, 3)))[:, ::-1]
        hull = cv2.convexHull(moving.astype(np.float32))
        self._outline = (hull.reshape(-1, 2) + 0.5) * grid.cell - 0.5 + self._corner
        across, down = (
            np.minimum(np.arange(count), np.arange(count)[::-1])
            for count in (area.columns * grid.cell, area.rows * grid.cell)
        )
        inside = np.minimum(across[None], down[:, None]) / (_FEATHER * portrait.mouth.half_mouth)
        self._opacity = np.minimum(inside, 1).astype(np.float32)

    def render(self, frame: Frame, index: int, shape: MouthShape) -> Drawn | None:
        """What the shape changes in a source frame; None where no face was found.

        Args:
            frame: The source frame.
            index: Which one it is.
            shape: What the mouth is to do.
        """
        place = self._motion.places[index]
        if place is None:
            return None
        portrait, cell = self._portrait, self._portrait.grid.cell
        coeffs = self._renderer.coeffs(shape)
        shaped = [
            self._inverse(np.tensordot(coeffs, fields, 1))
            for fields in (portrait.upper_fields, portrait.lower_fields)
        ]
        own = [
            np.asarray(np.tensordot(place.coeffs, fields, 1), np.float32)
            for fields in (self._motion.upper_fields, self._motion.lower_fields)
        ]
        upper, lower = (
            offsets + cv2.remap(field, self._nodes + offsets / cell, NO_MAP, cv2.INTER_LINEAR)
            for offsets, field in zip(shaped, own, strict=True)
        )
        profile = LipProfile(portrait, coeffs)
        side = profile.side(portrait.node_uv[..., 1], self._node_index, 1e-3)
        offsets = upper + (lower - upper) * side[..., None]
        drawn = self._warped(frame, place, offsets)
        if drawn is None:
            return None
        lips = self._lips.seen(frame, place, own)
        painter = MouthPainter(replace(portrait, textures=lips.textures, fine=lips.whole))
        painted = self._around(drawn, place, lips.gain)
        painter.draw(painted, profile, shaped[0], shaped[1], coeffs)
        self._paste(drawn, painted, place, lips.gain)
        return drawn

    def _inverse(self, field: Floats) -> Floats:
        """Where each node comes from, relative to it, in pixels."""
        area, cell = self._portrait.area, np.float32(self._portrait.grid.cell)
        steep = (
            slice(area.first_row, area.first_row + area.rows),
            slice(area.first_column, area.first_column + area.columns),
        )
        return np.asarray((inverse(field / cell, self._nodes, steep) - self._nodes) * cell)

    def _warped(self, frame: Frame, place: Place, offsets: Floats) -> Drawn | None:
        """The frame over all that may move; None where that lies outside the frame.

        Args:
            frame: The source frame.
            place: Of the frame.
            offsets: (rows, columns, 2) where in the reference the grid's nodes come from, relative
                to them, in pixels.
        """
        height, width = frame.shape[:2]
        linear, shift = place.to_frame[:, :2], place.to_frame[:, 2]
        grid = self._portrait.grid
        cell = max(1, round(grid.cell * math.sqrt(abs(float(np.linalg.det(linear))))))
        # What moves dies away within a cell from the last node that does.
        outline = self._outline @ linear.T + shift
        low = np.maximum(np.floor(outline.min(axis=0)).astype(int) - 2 * cell, 0)
        high = np.minimum(np.ceil(outline.max(axis=0)).astype(int) + 2 * cell, (width, height))
        if (high <= low).any():
            return None
        box = Box(*low.tolist(), *high.tolist())
        columns, rows = -(-box.width // cell), -(-box.height // cell)
        x = box.x1 - 0.5 + (np.arange(columns, dtype=np.float32) + 0.5) * cell
        y = box.y1 - 0.5 + (np.arange(rows, dtype=np.float32) + 0.5) * cell
        back = np.linalg.inv(linear).T
        nodes = grid.nodes((np.stack(np.meshgrid(x, y), axis=-1) - shift) @ back)
        moved = cv2.remap(offsets, nodes, NO_MAP, cv2.INTER_LINEAR) @ linear.T
        large = cv2.resize(np.ascontiguousarray(moved), (columns * cell, rows * cell))
        source = np.asarray(large, np.float32)[: box.height, : box.width]
        source[..., 0] += np.arange(box.x1, box.x2, dtype=np.float32)
        source[..., 1] += np.arange(box.y1, box.y2, dtype=np.float32)[:, None]
        pixels = cv2.remap(frame, source, NO_MAP, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        return Drawn(box, np.asarray(pixels, np.uint8))

    def _around(self, drawn: Drawn, place: Place, gain: Floats) -> Image:
        """The region as the frame shows it, as bright as in the reference."""
        grid, area = self._portrait.grid, self._portrait.area
        rows, columns = (
            slice(first * grid.cell, (first + count) * grid.cell)
            for first, count in (
                (area.first_row, area.rows),
                (area.first_column, area.columns),
            )
        )
        linear = place.to_frame[:, :2]
        first = self._corner + np.array([columns.start, rows.start])
        shift = linear @ first + place.to_frame[:, 2] - np.array(drawn.box[:2])
        around = np.zeros_like(self._portrait.pixels)
        seen = cv2.warpAffine(
            drawn.pixels, np.column_stack((linear, shift)).astype(np.float32),
            (columns.stop - columns.start, rows.stop - rows.start),
            flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE,
        )  # fmt: skip
        around[rows, columns] = np.rint(np.clip(seen / gain, 0, 255)).astype(np.uint8)
        return around

    def _paste(self, drawn: Drawn, painted: Image, place: Place, gain: Floats) -> None:
        """Put the painted mouth area of the reference into the part of the frame."""
        box, pixels = drawn
        area, cell = self._portrait.area, self._portrait.grid.cell
        top, left = area.first_row * cell, area.first_column * cell
        height, width = self._opacity.shape
        linear = place.to_frame[:, :2]
        shift = linear @ (self._corner + np.array([left, top])) + place.to_frame[:, 2]
        corners = np.array([(0, 0), (width, 0), (0, height), (width, height)]) @ linear.T + shift
        low = np.maximum(np.floor(corners.min(axis=0)).astype(int), (box.x1, box.y1))
        high = np.minimum(np.ceil(corners.max(axis=0)).astype(int) + 1, (box.x2, box.y2))
        if (high <= low).any():
            return
        to_part = np.column_stack((linear, shift - low)).astype(np.float32)
        size = (int(high[0] - low[0]), int(high[1] - low[1]))
        mouth = cv2.warpAffine(
            painted[top : top + height, left : left + width], to_part, size,
            flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE,
        )  # fmt: skip
        opacity = cv2.warpAffine(self._opacity, to_part, size)[..., None]
        rows = slice(int(low[1]) - box.y1, int(high[1]) - box.y1)
        columns = slice(int(low[0]) - box.x1, int(high[0]) - box.x1)
        below = pixels[rows, columns]
        mixed = below + (mouth * gain - below) * opacity
        below[:] = np.rint(np.clip(mixed, 0, 255)).astype(np.uint8)
