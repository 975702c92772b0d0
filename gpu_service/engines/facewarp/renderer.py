"""Draws one mouth shape of a portrait."""

import cv2
import numpy as np

from gpu_service.data import Box, Image
from gpu_service.engines.facewarp.bases import Basis
from gpu_service.engines.facewarp.geometry import MIDDLE, Floats
from gpu_service.engines.facewarp.lip_profile import LipProfile
from gpu_service.engines.facewarp.mouth_painter import NO_MAP, MouthPainter, pull
from gpu_service.engines.facewarp.portrait import Portrait
from gpu_service.engines.facewarp.shape import MouthShape

_FIXED_POINTS = 6
"""Rounds in which the inverse of a field settles to a fraction of a pixel."""
_CLOSED_UNTIL = 0.25
"""The opening up to which lips that touch in the source are still drawn together."""
_WIDEST_JAW = 1.5
"""The smooth field takes up some of the jaw's turn, so that it may have to turn a little more."""


class Renderer:
    """Draws shapes of one portrait; a shape always gives the same pixels."""

    def __init__(self, portrait: Portrait) -> None:
        self._portrait = portrait
        self._painter = MouthPainter(portrait)
        grid = portrait.grid
        columns, rows = np.meshgrid(
            np.arange(grid.columns, dtype=np.float32), np.arange(grid.rows, dtype=np.float32)
        )
        self._nodes = np.stack((columns, rows), axis=-1)
        x, y = np.meshgrid(
            np.arange(grid.width, dtype=np.float32), np.arange(grid.height, dtype=np.float32)
        )
        self._identity = np.stack((x, y), axis=-1)
        self._node_index = LipProfile.index(portrait.node_uv[..., 0])
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
        profile = LipProfile(portrait, coeffs)
        side = profile.side(portrait.node_uv[..., 1], self._node_index, 1e-3)
        both = upper + (lower - upper) * side[..., None]
        grid = portrait.grid
        offsets = np.asarray(cv2.resize(both, (grid.width, grid.height)), np.float32)
        image = pull(portrait.pixels, self._identity, offsets)
        self._painter.draw(image, profile, upper, lower, coeffs)
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
            source = self._nodes - cv2.remap(in_cells, source, NO_MAP, cv2.INTER_LINEAR)
        return np.asarray((source - self._nodes) * self._portrait.grid.cell, np.float32)

    def _cut(self, image: Image) -> Image:
        grid, box = self._portrait.grid, self._portrait.box
        return np.ascontiguousarray(
            image[box.y1 - grid.y : box.y2 - grid.y, box.x1 - grid.x : box.x2 - grid.x]
        )
