"""Draws the lips and the inside of the mouth, the part of a frame that needs sharp edges."""

import cv2
import numpy as np

from gpu_service.data import Image
from gpu_service.engines.facewarp.bases import Basis
from gpu_service.engines.facewarp.geometry import CLOSED_GAP, SEAM_POINTS, Floats
from gpu_service.engines.facewarp.lip_profile import LipProfile
from gpu_service.engines.facewarp.portrait import Portrait

NO_MAP = np.empty((0, 0), np.float32)
"""cv2.remap takes both coordinates in its first map."""
_CONTACT = 0.45
"""How much darker than the lips the line is on which they meet."""
_CONTACT_WIDTH = 0.022
"""How wide that line is, in half mouths."""


class MouthPainter:
    """Draws the mouth area of one portrait."""

    def __init__(self, portrait: Portrait) -> None:
        self._portrait = portrait
        area, cell = portrait.area, portrait.grid.cell
        x, y = np.meshgrid(
            np.arange(area.columns * cell, dtype=np.float32) + area.first_column * cell,
            np.arange(area.rows * cell, dtype=np.float32) + area.first_row * cell,
        )
        self._identity = np.stack((x, y), axis=-1)
        self._area_index = LipProfile.index(area.u)

    def draw(
        self, image: Image, profile: LipProfile, upper: Floats, lower: Floats, coeffs: Floats
    ) -> None:
        """Draw the lips with sharp edges and the inside of the mouth over the blended picture.

        Args:
            image: The region, in which the mouth area is drawn.
            profile: Of this frame.
            upper: (rows, columns, 2) where the grid's nodes come from as the upper field moves
                them, relative to them, in pixels.
            lower: Likewise of the lower field.
            coeffs: (num_bases,)
        """
        portrait = self._portrait
        area, cell = portrait.area, portrait.grid.cell
        rows = slice(area.first_row * cell, (area.first_row + area.rows) * cell)
        columns = slice(area.first_column * cell, (area.first_column + area.columns) * cell)
        side = profile.side(area.v, self._area_index, 0.5 / portrait.mouth.half_mouth)
        upper_offsets = self._area_offsets(upper)
        apart = self._area_offsets(lower) - upper_offsets
        joined = np.clip(profile.outside / 0.12, 0, 1)[self._area_index]
        identity = self._identity
        blend = (joined * side)[..., None]
        above = pull(portrait.textures.upper, identity, upper_offsets + apart * blend)
        blend = (1 - joined * (1 - side))[..., None]
        below = pull(portrait.textures.lower, identity, upper_offsets + apart * blend)
        mouth = above + (below.astype(np.float32) - above) * side[..., None]
        self._draw_contact(mouth, profile, coeffs)
        self._draw_inside(mouth, profile, coeffs)
        image[rows, columns] = np.rint(np.clip(mouth, 0, 255)).astype(np.uint8)

    def _draw_contact(self, mouth: Floats, profile: LipProfile, coeffs: Floats) -> None:
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

    def _draw_inside(self, mouth: Floats, profile: LipProfile, coeffs: Floats) -> None:
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


def pull(image: Image, identity: Floats, offsets: Floats) -> Image:
    """The picture that an image gives where each pixel comes from `identity + offsets`."""
    pulled = cv2.remap(
        image, identity + offsets, NO_MAP, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(pulled, np.uint8)
