"""Draws one mouth shape of a portrait."""

import cv2
import numpy as np
from numpy.typing import NDArray

from gpu_service.data import Box, Image
from gpu_service.engines.facewarp.bases import Basis
from gpu_service.engines.facewarp.geometry import (
    CLOSED_GAP,
    MIDDLE,
    SEAM_POINTS,
    SEAM_U,
    Floats,
)
from gpu_service.engines.facewarp.portrait import Portrait
from gpu_service.engines.facewarp.shape import MouthShape

_NO_MAP = np.empty((0, 0), np.float32)
"""cv2.remap takes both coordinates in its first map."""
_FIXED_POINTS = 6
"""Rounds in which the inverse of a field settles to a fraction of a pixel."""
_SPREAD = 0.55
"""How fast the border between the two fields widens outside the mouth, a half mouth each."""
_CLOSED_UNTIL = 0.25
"""The opening up to which lips that touch in the source are still drawn together."""
_WIDEST_JAW = 1.5
"""The smooth field takes up some of the jaw's turn, so that it may have to turn a little more."""
_CONTACT = 0.45
"""How much darker than the lips the line is on which they meet."""
_CONTACT_WIDTH = 0.022
"""How wide that line is, in half mouths."""
_PROFILE_REACH = 2.0
"""How far beyond the middle of the mouth the tables reach, in half mouths."""
_PROFILE_STEPS = 2048


class _Profile:
    """The displaced lip edges as functions of u, read by table."""

    def __init__(self, portrait: Portrait, coeffs: Floats) -> None:
        upper = np.stack((SEAM_U, portrait.edges.upper), axis=1)
        lower = np.stack((SEAM_U, portrait.edges.lower), axis=1)
        upper = upper + np.tensordot(coeffs, portrait.upper_edge_moves, 1)
        lower = lower + np.tensordot(coeffs, portrait.lower_edge_moves, 1)
        # The two fields differ by a trifle in the corners, where the lips are one.
        for end in (0, -1):
            upper[end] = lower[end] = (upper[end] + lower[end]) / 2
        at = np.linspace(-_PROFILE_REACH, _PROFILE_REACH, _PROFILE_STEPS)
        self.upper = _read(at, upper)
        self.lower = _read(at, lower)
        self.middle = (self.upper + self.lower) / 2
        left, right = float(upper[0, 0]), float(upper[-1, 0])
        outside = np.maximum(np.maximum(left - at, at - right), 0)
        self.outside = outside.astype(np.float32)
        self.widest_gap = float((self.lower - self.upper).max())

    @staticmethod
    def index(u: Floats) -> NDArray[np.intp]:
        """Where in the tables the values of u are."""
        place = (u + _PROFILE_REACH) * ((_PROFILE_STEPS - 1) / (2 * _PROFILE_REACH))
        index: NDArray[np.intp] = np.rint(place).astype(np.intp).clip(0, _PROFILE_STEPS - 1)
        return index


def _read(at: Floats, edge: Floats) -> Floats:
    return np.interp(at, np.maximum.accumulate(edge[:, 0]), edge[:, 1]).astype(np.float32)


class Renderer:
    """Draws shapes of one portrait; a shape always gives the same pixels."""

    def __init__(self, portrait: Portrait) -> None:
        self._portrait = portrait
        grid, area = portrait.grid, portrait.area
        columns, rows = np.meshgrid(
            np.arange(grid.columns, dtype=np.float32), np.arange(grid.rows, dtype=np.float32)
        )
        self._nodes = np.stack((columns, rows), axis=-1)
        x, y = np.meshgrid(
            np.arange(grid.width, dtype=np.float32), np.arange(grid.height, dtype=np.float32)
        )
        self._identity = np.stack((x, y), axis=-1)
        self._node_index = _Profile.index(portrait.node_uv[..., 0])
        self._area_index = _Profile.index(area.u)
        moves = portrait.lower_edge_moves - portrait.upper_edge_moves
        self._gap_moves = moves[:, MIDDLE, 1].mean(axis=1)

    @property
    def box(self) -> Box:
        """Where in the picture the rendered pixels go."""
        return self._portrait.box

    def render(self, shape: MouthShape) -> Image:
        """The pixels of the portrait's box."""
        portrait = self._portrait
        coeffs = self.coeffs(shape)
        if not coeffs.any():
            return self._cut(portrait.pixels.copy())
        upper = self._inverse(np.tensordot(coeffs, portrait.upper_fields, 1))
        lower = self._inverse(np.tensordot(coeffs, portrait.lower_fields, 1))
        profile = _Profile(portrait, coeffs)
        side = self._side(profile, portrait.node_uv[..., 1], self._node_index, 1e-3)
        both = upper + (lower - upper) * side[..., None]
        grid = portrait.grid
        offsets = np.asarray(cv2.resize(both, (grid.width, grid.height)), np.float32)
        image = _pull(portrait.pixels, self._identity, offsets)
        self._draw_mouth(image, profile, upper, lower, coeffs)
        return self._cut(image)

    def coeffs(self, shape: MouthShape) -> Floats:
        """(num_bases,) so that the lips' gap is what the shape commands, whatever else moves."""
        coeffs = np.zeros(len(Basis), np.float32)
        coeffs[Basis.WIDE] = shape.width
        coeffs[Basis.ROUND] = shape.round
        coeffs[Basis.TUCK] = shape.fv
        jaw = max(float(self._gap_moves[Basis.JAW]), 0.05)
        widest = self._portrait.widest_gap
        wanted = shape.open * widest
        gap = float(coeffs @ self._gap_moves)
        if self._portrait.edges.closed:
            # Touching lips that look a little apart meet fully, and part before the jaw is far.
            close = max(0.0, 1 - shape.open / _CLOSED_UNTIL) * (1 - shape.fv)
        else:
            # Lips that are apart in the source meet by themselves, then the jaw takes over.
            source_gap = self._portrait.edges.gap
            close = max(0.0, 1 - wanted / max(source_gap, min(1.4 * source_gap, widest)))
            gap += source_gap * (1 - close)
        coeffs[Basis.CLOSE] = close
        coeffs[Basis.JAW] = np.clip((wanted - gap) / jaw, 0, _WIDEST_JAW)
        coeffs[Basis.PRESS] = shape.closure
        return coeffs

    def _inverse(self, field: Floats) -> Floats:
        """Where each node's picture comes from, relative to it: x = y - field(x), iterated."""
        in_cells = field / self._portrait.grid.cell
        source: Floats = self._nodes - in_cells
        for _ in range(_FIXED_POINTS):
            source = self._nodes - cv2.remap(in_cells, source, _NO_MAP, cv2.INTER_LINEAR)
        return np.asarray((source - self._nodes) * self._portrait.grid.cell, np.float32)

    def _side(self, profile: _Profile, v: Floats, index: NDArray[np.intp], sharp: float) -> Floats:
        """0 above the seam, 1 below; soft outside the mouth, where the fields agree."""
        softness = np.maximum(profile.outside * _SPREAD, sharp)
        place = (v - profile.middle[index]) / softness[index]
        return np.asarray(np.clip(place * 0.5 + 0.5, 0, 1), np.float32)

    def _draw_mouth(
        self, image: Image, profile: _Profile, upper: Floats, lower: Floats, coeffs: Floats
    ) -> None:
        """Draw the lips with sharp edges and the inside of the mouth over the blended picture."""
        portrait = self._portrait
        area, cell = portrait.area, portrait.grid.cell
        half = portrait.mouth.half_mouth
        rows = slice(area.first_row * cell, (area.first_row + area.rows) * cell)
        columns = slice(area.first_column * cell, (area.first_column + area.columns) * cell)
        side = self._side(profile, area.v, self._area_index, 0.5 / half)
        upper_offsets = self._area_offsets(upper)
        apart = self._area_offsets(lower) - upper_offsets
        joined = np.clip(profile.outside / 0.12, 0, 1)[self._area_index]
        identity = self._identity[rows, columns]
        blend = (joined * side)[..., None]
        above = _pull(portrait.textures.upper, identity, upper_offsets + apart * blend)
        blend = (1 - joined * (1 - side))[..., None]
        below = _pull(portrait.textures.lower, identity, upper_offsets + apart * blend)
        mouth = above + (below.astype(np.float32) - above) * side[..., None]
        self._draw_contact(mouth, profile, coeffs)
        self._draw_inside(mouth, profile, coeffs)
        image[rows, columns] = np.rint(np.clip(mouth, 0, 255)).astype(np.uint8)

    def _draw_contact(self, mouth: Floats, profile: _Profile, coeffs: Floats) -> None:
        """Darken the line on which lips meet that are apart, or less pressed, in the source."""
        area, half = self._portrait.area, self._portrait.mouth.half_mouth
        # On small faces the line is thinner than a pixel and so fainter.
        depth = _CONTACT * min(1.0, _CONTACT_WIDTH * half / 0.7)
        # Lips that touch in the picture bring their own line.
        drawn = min(1.0, self._portrait.edges.gap / CLOSED_GAP)
        depth *= float(max(drawn * coeffs[Basis.CLOSE], 0.4 * coeffs[Basis.PRESS]))
        if depth < 0.01:
            return
        touching = np.clip(1 - (profile.lower - profile.upper) / 0.05, 0, 1)
        strength = (depth * touching * np.clip(1 - profile.outside / 0.06, 0, 1)).astype(np.float32)
        width = max(0.7 / half, _CONTACT_WIDTH)
        away = (area.v - profile.middle[self._area_index]) / width
        line = strength[self._area_index] * np.exp(-(away**2))
        mouth *= (1 - line)[..., None]

    def _draw_inside(self, mouth: Floats, profile: _Profile, coeffs: Floats) -> None:
        portrait = self._portrait
        half = portrait.mouth.half_mouth
        if profile.widest_gap * half < 0.1:
            return
        area = portrait.area
        to_upper = (area.v - profile.upper[self._area_index]) * half
        to_lower = (profile.lower[self._area_index] - area.v) * half
        blur = max(1.0, 0.026 * half)
        opacity = np.clip(to_upper / blur + 0.5, 0, 1) + np.clip(to_lower / blur + 0.5, 0, 1) - 1
        opacity = np.where(profile.outside[self._area_index] > 0, 0, opacity)
        inside = opacity > 0
        found_rows, found_columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
        if not len(found_rows):
            return
        part = (
            slice(int(found_rows[0]), int(found_rows[-1]) + 1),
            slice(int(found_columns[0]), int(found_columns[-1]) + 1),
        )
        jaw_uv = np.tensordot(coeffs, portrait.lower_edge_moves[:, SEAM_POINTS // 2], 1)
        jaw = (portrait.mouth.axis_u * jaw_uv[0] + portrait.mouth.axis_v * jaw_uv[1]) * half
        painted = portrait.interior.paint(
            part[0].start, part[1].start, to_upper[part], to_lower[part], jaw
        )
        share = opacity[part][..., None]
        mouth[part] += (painted - mouth[part]) * share

    def _area_offsets(self, offsets: Floats) -> Floats:
        """A field of the grid at the pixels of the mouth area."""
        area, cell = self._portrait.area, self._portrait.grid.cell
        rows = slice(max(area.first_row - 1, 0), area.first_row + area.rows + 1)
        columns = slice(max(area.first_column - 1, 0), area.first_column + area.columns + 1)
        part = offsets[rows, columns]
        large = cv2.resize(part, (part.shape[1] * cell, part.shape[0] * cell))
        top, left = (area.first_row - rows.start) * cell, (area.first_column - columns.start) * cell
        return np.asarray(
            large[top : top + area.rows * cell, left : left + area.columns * cell], np.float32
        )

    def _cut(self, image: Image) -> Image:
        grid, box = self._portrait.grid, self._portrait.box
        return np.ascontiguousarray(
            image[box.y1 - grid.y : box.y2 - grid.y, box.x1 - grid.x : box.x2 - grid.x]
        )


def _pull(image: Image, identity: Floats, offsets: Floats) -> Image:
    pulled = cv2.remap(
        image, identity + offsets, _NO_MAP, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(pulled, np.uint8)
