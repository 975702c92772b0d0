"""Draws the lips and the inside of the mouth, the part of a frame that needs sharp edges."""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from gpu_service.data import Image
from gpu_service.engines.facewarp.lips.bases import Basis
from gpu_service.engines.facewarp.lips.lip_profile import LipProfile
from gpu_service.engines.facewarp.portrait import Portrait
from gpu_service.engines.facewarp.warp.fine_picture import FinePicture
from gpu_service.engines.facewarp.warp.geometry import CLOSED_GAP, SEAM_POINTS, Floats

_CONTACT = 0.45
"""How much darker than the lips the line is on which they meet."""
_CONTACT_WIDTH = 0.022
"""How wide that line is, in half mouths."""
_CONTINUED = 0.5
"""From how much of their closing on lips are drawn without the shade of the photo's opening."""
_PARTING = 0.08
"""How far lips are apart when the inside of the mouth is fully seen, in half mouths."""
_JOINED = 0.12
"""How far beyond the corners the two fields have become one, in half mouths."""
_ROUNDED_LIGHT = 0.28
"""How much of the light lips that are fully rounded keep from the mouth."""


class _Part(NamedTuple):
    """The pixels that a frame draws anew, and where they are in the mouth's frame."""

    rows: slice
    columns: slice
    """Of the region."""
    v: Floats
    """(height, width) half mouths."""
    at_u: NDArray[np.intp]
    """(height, width) of their u in the tables of a profile."""
    head: Floats | None
    """(height, width, 2) where they lie in the still portrait, relative to them, in pixels."""
    cells: tuple[slice, slice]
    """Rows and columns of the grid that they fill."""


class MouthPainter:
    """Draws the mouth area of one portrait."""

    def __init__(self, portrait: Portrait) -> None:
        self._portrait = portrait
        area, grid = portrait.area, portrait.grid
        # Of the mouth area alone: those of the whole region would take half as much memory as the
        # enlarged picture.
        box = area.box(grid.cell)
        self._places = portrait.textures.upper.places(box)
        self._photo_places = portrait.fine.places(box)
        self._at_u = LipProfile.index(area.u)
        # What a node's cells may mix with what belongs to the other side of an edge.
        half = portrait.mouth.half_mouth
        self._margin = max(1.6 * grid.cell / half, 0.08) + 2 / half

    def draw(
        self,
        image: Image,
        profile: LipProfile,
        upper: Floats,
        lower: Floats,
        coeffs: Floats,
        head: Floats | None = None,
    ) -> None:
        """Draw the lips with sharp edges and the inside of the mouth over the blended picture.

        Args:
            image: The region, in which the mouth is drawn.
            profile: Of this frame.
            upper: (rows, columns, 2) where in the source picture the grid's nodes come from as
                the head and the upper field move them, relative to them, in pixels.
            lower: Likewise of the lower field.
            coeffs: (num_bases,)
            head: (rows, columns, 2) where the grid's nodes lie in the still portrait, relative to
                them, in pixels; None for a still head.
        """
        part = self._part(profile, head)
        if part is None:
            return
        half = self._portrait.mouth.half_mouth
        to_upper = (part.v - profile.top[part.at_u]) * half
        to_lower = (profile.bottom[part.at_u] - part.v) * half
        opacity = self._opacity(to_upper, to_lower)
        closing = float(coeffs[Basis.CLOSE])
        mouth = self._lips(profile, part, upper, lower, opacity, closing).astype(np.float32)
        self._draw_contact(mouth, profile, part, coeffs)
        self._draw_inside(mouth, part, to_upper, to_lower, opacity, coeffs)
        np.clip(np.rint(mouth, out=mouth), 0, 255, out=mouth)
        image[part.rows, part.columns] = mouth

    def _part(self, profile: LipProfile, head: Floats | None) -> _Part | None:
        """The cells along the lips' edges and between them; elsewhere the blended picture is."""
        portrait = self._portrait
        area, cell = portrait.area, portrait.grid.cell
        node_uv = portrait.node_uv[area.nodes]
        if head is not None:
            node_uv = node_uv + _in_mouth(head[area.nodes], portrait)
        margin = self._margin
        at_u = LipProfile.index(node_uv[..., 0])
        wanted = (
            (node_uv[..., 1] > profile.upper[at_u] - margin)
            & (node_uv[..., 1] < profile.lower[at_u] + margin)
            & (profile.outside[at_u] < max(_JOINED, margin) + margin)
        )
        found = np.flatnonzero(wanted.any(1)), np.flatnonzero(wanted.any(0))
        if not len(found[0]):
            return None
        in_area = [slice(int(at[0]), int(at[-1]) + 1) for at in found]
        pixels = tuple(slice(at.start * cell, at.stop * cell) for at in in_area)
        cells = (
            slice(area.first_row + in_area[0].start, area.first_row + in_area[0].stop),
            slice(area.first_column + in_area[1].start, area.first_column + in_area[1].stop),
        )
        v, index, offsets = area.v[pixels], self._at_u[pixels], None
        if head is not None:
            offsets = self._upsampled(head, cells)
            moved = _in_mouth(offsets, portrait)
            v = v + moved[..., 1]
            index = LipProfile.index(area.u[pixels] + moved[..., 0])
        return _Part(
            slice(cells[0].start * cell, cells[0].stop * cell),
            slice(cells[1].start * cell, cells[1].stop * cell),
            v, index, offsets, cells,
        )  # fmt: skip

    def _opacity(self, to_upper: Floats, to_lower: Floats) -> Floats:
        """(height, width) how much of each pixel is the inside of the mouth."""
        # As wide as the photo's own edges are, or the lips would look cut out.
        half = self._portrait.mouth.half_mouth
        blur = max(1.2, 0.026 * half, 2.5 * self._portrait.blur)
        opacity = np.clip(to_upper / blur + 0.5, 0, 1) + np.clip(to_lower / blur + 0.5, 0, 1) - 1
        # Lips that part let the inside be seen little by little.
        opacity *= np.clip((to_upper + to_lower) / (_PARTING * half), 0, 1)
        return np.asarray(opacity, np.float32)

    def _lips(
        self,
        profile: LipProfile,
        part: _Part,
        upper: Floats,
        lower: Floats,
        opacity: Floats,
        closing: float,
    ) -> Image:
        """(height, width, 3) each lip where it is to be seen."""
        textures = self._portrait.textures
        side = profile.side(part.v, part.at_u, 0.5 / self._portrait.mouth.half_mouth)
        from_upper = self._upsampled(upper, part.cells)
        apart = self._upsampled(lower, part.cells) - from_upper
        joined = np.clip(profile.outside / _JOINED, 0, 1)[part.at_u]
        seen = opacity < 1
        height = len(side)
        last = _last(seen & (side < 1))
        first = height - _last((seen & (side > 0))[::-1])
        lips = np.zeros((height, side.shape[1], 3), np.uint8)
        if last:
            share = joined[:last] * side[:last]
            offsets = from_upper[:last] + apart[:last] * cv2.merge((share, share))
            lips[:last] = self._lip(textures.upper, part, slice(0, last), offsets, closing)
        if first < height:
            share = 1 - joined[first:] * (1 - side[first:])
            offsets = from_upper[first:] + apart[first:] * cv2.merge((share, share))
            below = self._lip(textures.lower, part, slice(first, height), offsets, closing)
            both = max(last - first, 0)
            lips[first + both :] = below[both:]
            if both:
                weight = np.ascontiguousarray(side[first:last])
                lips[first:last] = cv2.blendLinear(
                    lips[first:last], below[:both], 1 - weight, weight
                )
        return lips

    def _lip(
        self, texture: FinePicture, part: _Part, rows: slice, offsets: Floats, closing: float
    ) -> Image:
        """Some rows of one lip.

        A mouth that is as open as in the photo keeps the photo's own shading of its rim.
        """
        portrait = self._portrait
        continued = 1.0 if portrait.edges.closed else min(closing / _CONTINUED, 1.0)
        left, top = portrait.area.box(portrait.grid.cell)[:2]
        first = part.rows.start - top
        at = (
            slice(first + rows.start, first + rows.stop),
            slice(part.columns.start - left, part.columns.stop - left),
        )
        if continued <= 0:
            return portrait.fine.pull(self._photo_places[at], offsets)
        lip = texture.pull(self._places[at], offsets)
        if continued < 1:
            photo = portrait.fine.pull(self._photo_places[at], offsets)
            cv2.addWeighted(lip, continued, photo, 1 - continued, 0, dst=lip)
        return lip

    def _draw_contact(
        self, mouth: Floats, profile: LipProfile, part: _Part, coeffs: Floats
    ) -> None:
        """Darken the line on which lips meet that are apart, or less pressed, in the source."""
        half = self._portrait.mouth.half_mouth
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
        away = (part.v - profile.middle[part.at_u]) / width
        line = strength[part.at_u] * np.exp(-(away**2))
        mouth *= cv2.merge((1 - line,) * 3)

    def _draw_inside(
        self,
        mouth: Floats,
        part: _Part,
        to_upper: Floats,
        to_lower: Floats,
        opacity: Floats,
        coeffs: Floats,
    ) -> None:
        portrait = self._portrait
        half = portrait.mouth.half_mouth
        inside = opacity > 0.002
        found_rows, found_columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
        if not len(found_rows):
            return
        opened = (
            slice(int(found_rows[0]), int(found_rows[-1]) + 1),
            slice(int(found_columns[0]), int(found_columns[-1]) + 1),
        )
        left, top = portrait.area.box(portrait.grid.cell)[:2]
        corner = (
            part.rows.start + opened[0].start - top,
            part.columns.start + opened[1].start - left,
        )
        jaw_uv = np.tensordot(coeffs, portrait.lower_edge_moves[:, SEAM_POINTS // 2], 1)
        jaw = (portrait.mouth.axis_u * jaw_uv[0] + portrait.mouth.axis_v * jaw_uv[1]) * half
        light = 1 - (1 - _ROUNDED_LIGHT) * float(np.clip(coeffs[Basis.ROUND], 0, 1)) ** 2.2
        head = None if part.head is None else part.head[opened]
        painted = portrait.interior.paint(
            corner, to_upper[opened], to_lower[opened], jaw, light, head
        )
        share = opacity[opened]
        painted -= mouth[opened]
        painted *= cv2.merge((share,) * 3)
        mouth[opened] += painted

    def _upsampled(self, offsets: Floats, cells: tuple[slice, slice]) -> Floats:
        """A field of the grid at the pixels of some of its cells."""
        cell = self._portrait.grid.cell
        rows, columns = (slice(max(at.start - 1, 0), at.stop + 1) for at in cells)
        some = offsets[rows, columns]
        large = cv2.resize(some, (some.shape[1] * cell, some.shape[0] * cell))
        top, left = (cells[0].start - rows.start) * cell, (cells[1].start - columns.start) * cell
        height, width = (at.stop * cell - at.start * cell for at in cells)
        return np.asarray(large[top : top + height, left : left + width], np.float32)


def _in_mouth(offsets: Floats, portrait: Portrait) -> Floats:
    """Offsets in pixels as (u, v) in half mouths."""
    mouth = portrait.mouth
    axes = np.stack((mouth.axis_u, mouth.axis_v), axis=1) / mouth.half_mouth
    return np.asarray(offsets @ axes.astype(np.float32), np.float32)


def _last(wanted: NDArray[np.bool_]) -> int:
    """How many rows there are up to the last in which anything is wanted."""
    found = np.flatnonzero(wanted.any(axis=1))
    return int(found[-1]) + 1 if len(found) else 0
