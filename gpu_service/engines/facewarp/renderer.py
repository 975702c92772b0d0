"""Draws one frame of a portrait: head, lids and mouth in one interpolation of the picture."""

from typing import NamedTuple

import cv2
import numpy as np

from gpu_service.data import Box, Image
from gpu_service.engines.facewarp.life.eyes import TURNED, Eye
from gpu_service.engines.facewarp.life.pose import AS_IN_THE_PHOTO, Pose
from gpu_service.engines.facewarp.lips.bases import Basis
from gpu_service.engines.facewarp.lips.lip_profile import LipProfile
from gpu_service.engines.facewarp.lips.mouth_painter import MouthPainter
from gpu_service.engines.facewarp.portrait import Portrait
from gpu_service.engines.facewarp.shape import MouthShape
from gpu_service.engines.facewarp.warp.fields import Grid
from gpu_service.engines.facewarp.warp.fine_picture import FinePicture, moved
from gpu_service.engines.facewarp.warp.geometry import MIDDLE, Floats
from gpu_service.engines.facewarp.warp.inverse import inverse

_CLOSED_UNTIL = 0.25
"""The opening up to which lips that touch in the source are still drawn together."""
_BITING = 0.18
"""How far lips part, of the widest opening, that show the teeth on the lower one."""
_WIDEST_JAW = 1.5
"""The smooth field takes up some of the jaw's turn, so that it may have to turn a little more."""
_STRIP = 48
"""Rows that are drawn at once: few enough that a strip holds little that does not move."""
_UNMOVED = 1 / 64
"""Pixels are sampled at places this fine."""


class _Mouth(NamedTuple):
    """Where the mouth's grid comes from in one frame, relative to its nodes, in pixels."""

    profile: LipProfile
    upper: Floats
    lower: Floats
    blended: Floats


class Renderer:
    """Draws frames of one portrait; the same shape and pose always give the same pixels."""

    def __init__(self, portrait: Portrait) -> None:
        self._portrait = portrait
        self._painter = MouthPainter(portrait)
        self._nodes = _nodes(portrait.grid)
        self._node_index = LipProfile.index(portrait.node_uv[..., 0])
        moves = portrait.lower_edge_moves - portrait.upper_edge_moves
        self._gap_moves = moves[:, MIDDLE, 1].mean(axis=1)
        grid, canvas = portrait.grid, portrait.canvas
        row, column = (grid.y - canvas.y) // grid.cell, (grid.x - canvas.x) // grid.cell
        self._mouth = slice(row, row + grid.rows), slice(column, column + grid.columns)
        # A node further on every side, so that what lies beyond the outermost is interpolated too.
        nodes = np.pad(_nodes(canvas), ((1, 1), (1, 1), (0, 0)), "reflect", reflect_type="odd")
        corner = np.array([canvas.x - grid.x, canvas.y - grid.y], np.float32)
        self._places = ((nodes + 0.5) * canvas.cell - 0.5 + corner).astype(np.float32)
        self._spots = portrait.fine.spots(self._places)

    @property
    def box(self) -> Box:
        """Where in the picture the rendered pixels go."""
        return self._portrait.box

    def render(self, shape: MouthShape, pose: Pose = AS_IN_THE_PHOTO) -> Image:
        """The pixels of the portrait's box.

        Args:
            shape: Of the mouth.
            pose: Of head and eyes; a portrait that is not lively ignores it.
        """
        portrait = self._portrait
        coeffs = self.coeffs(shape)
        canvas = portrait.canvas
        offsets = np.zeros((canvas.rows, canvas.columns, 2), np.float32)
        turned = portrait.head is not None and any(pose[:-1])
        if portrait.head is not None and turned:
            offsets = portrait.head.offsets(np.asarray(pose[:-1], np.float32))
        mouth = None
        head = offsets[self._mouth].copy() if turned else None
        if coeffs.any():
            mouth = self._mouth_offsets(coeffs, head)
            offsets[self._mouth] = mouth.blended
        image = portrait.source.copy()
        around = np.asarray(
            cv2.copyMakeBorder(offsets, 1, 1, 1, 1, cv2.BORDER_REPLICATE), np.float32
        )
        self._pull(image, offsets, moved(self._spots, around))
        if pose.blink > 0:
            for eye in portrait.eyes:
                self._draw_lids(eye, image, offsets, around, pose.blink)
        if mouth is not None:
            rows, columns = (
                slice(part.start * canvas.cell, part.stop * canvas.cell) for part in self._mouth
            )
            self._painter.draw(
                image[rows, columns], mouth.profile, mouth.upper, mouth.lower, coeffs, head
            )
        return self._cut(image)

    def coeffs(self, shape: MouthShape) -> Floats:
        """(num_bases,) so that the lips' gap is what the shape commands, whatever else moves."""
        coeffs = np.zeros(len(Basis), np.float32)
        coeffs[Basis.WIDE] = shape.width
        coeffs[Basis.ROUND] = shape.round
        coeffs[Basis.TUCK] = shape.fv
        jaw = max(float(self._gap_moves[Basis.JAW]), 0.05)
        widest = self._portrait.widest_gap
        wanted = (shape.open + shape.fv * max(_BITING - shape.open, 0.0)) * widest
        gap = float(coeffs @ self._gap_moves)
        if self._portrait.edges.closed:
            # Touching lips that look a little apart meet fully, and part before the jaw is far.
            close = max(0.0, 1 - shape.open / _CLOSED_UNTIL) * (1 - shape.fv)
        else:
            # Lips that are apart in the source meet by themselves, then the jaw takes over.
            source_gap = self._portrait.edges.gap
            close = max(0.0, 1 - wanted / max(source_gap, min(1.4 * source_gap, widest)))
            closing = float(self._gap_moves[Basis.CLOSE])
            # What they press into each other does not part them.
            pressed = max(-(source_gap + closing), 0.0)
            gap += source_gap + close * closing + close**2 * pressed
        coeffs[Basis.CLOSE] = close
        coeffs[Basis.JAW] = np.clip((wanted - gap) / jaw, 0, _WIDEST_JAW)
        coeffs[Basis.PRESS] = shape.closure
        return coeffs

    def _mouth_offsets(self, coeffs: Floats, head: Floats | None) -> _Mouth:
        portrait = self._portrait
        upper = self._inverse(np.tensordot(coeffs, portrait.upper_fields, 1), head)
        lower = self._inverse(np.tensordot(coeffs, portrait.lower_fields, 1), head)
        profile = LipProfile(portrait, coeffs)
        v, index = portrait.node_uv[..., 1], self._node_index
        if head is not None:
            (u_x, u_y), (v_x, v_y) = (
                axis / portrait.mouth.half_mouth
                for axis in (portrait.mouth.axis_u, portrait.mouth.axis_v)
            )
            x, y = head[..., 0], head[..., 1]
            v = v + v_x * x + v_y * y
            index = LipProfile.index(portrait.node_uv[..., 0] + u_x * x + u_y * y)
        side = profile.side(v, index, 1e-3)
        return _Mouth(profile, upper, lower, upper + (lower - upper) * side[..., None])

    def _inverse(self, field: Floats, head: Floats | None) -> Floats:
        """Where each node's picture comes from, relative to it, in pixels.

        Args:
            field: (rows, columns, 2) pixels.
            head: Where the nodes lie in the still portrait, relative to them, in pixels.
        """
        cell = self._portrait.grid.cell
        in_cells = field / np.float32(cell)
        still = self._nodes if head is None else self._nodes + head / np.float32(cell)
        source = inverse(in_cells, still, self._portrait.area.nodes)
        return np.asarray((source - self._nodes) * cell, np.float32)

    def _pull(self, image: Image, offsets: Floats, spots: Floats) -> None:
        """Draw what moves, strip by strip: the head is round, and half of a strip may stay."""
        fine, cell = self._portrait.fine, self._portrait.canvas.cell
        # Numpy is slow along axes of two.
        unlike = np.abs(offsets).reshape(len(offsets), -1) > _UNMOVED
        num_rows = max(1, _STRIP // cell)
        for first in range(0, len(unlike), num_rows):
            last = min(first + num_rows, len(unlike))
            # Half a cell beyond a node still moves with it.
            columns = np.flatnonzero(unlike[max(first - 1, 0) : last + 1].any(axis=0))
            if len(columns):
                left = max(int(columns[0]) // 2 - 1, 0)
                right = min(int(columns[-1]) // 2 + 2, offsets.shape[1])
                fine.read(
                    _upscaled(spots[first : last + 2, left : right + 2], cell),
                    image[first * cell : last * cell, left * cell : right * cell],
                )

    def _draw_lids(
        self, eye: Eye, image: Image, offsets: Floats, around: Floats, blink: float
    ) -> None:
        """Draw an eye again, from a picture in which it is shut."""
        canvas, grid = self._portrait.canvas, self._portrait.grid
        cell, shape = canvas.cell, np.array(offsets.shape[:2])
        corner, size = np.array([eye.top, eye.left]), np.array(eye.pixels.shape[:2])
        middle = np.clip((corner + size / 2) // cell, 0, shape - 1).astype(int)
        shown = corner - offsets[middle[0], middle[1], ::-1]
        # The rim of the patch shows what the picture shows: it is left out, for what moves in from
        # beyond the patch.
        rim = 2 * cell + TURNED * eye.half_eye
        first = np.clip(np.ceil((shown + rim) / cell), 0, shape - 1).astype(int).tolist()
        last = np.clip(np.floor((shown + size - rim) / cell), 1, shape).astype(int).tolist()
        nodes = slice(first[0], last[0] + 2), slice(first[1], last[1] + 2)
        part = tuple(slice(a * cell, b * cell) for a, b in zip(first, last, strict=True))
        shut = FinePicture(
            eye.shut(blink), (eye.left + canvas.x - grid.x, eye.top + canvas.y - grid.y)
        )
        spots = shut.spots(self._places[nodes] + around[nodes])
        image[part] = shut.read(_upscaled(spots, cell))

    def _cut(self, image: Image) -> Image:
        canvas, box = self._portrait.canvas, self._portrait.box
        return image[box.y1 - canvas.y : box.y2 - canvas.y, box.x1 - canvas.x : box.x2 - canvas.x]


def _nodes(grid: Grid) -> Floats:
    x, y = np.arange(grid.columns, dtype=np.float32), np.arange(grid.rows, dtype=np.float32)
    return np.stack(np.meshgrid(x, y), axis=-1)


def _upscaled(places: Floats, cell: int) -> Floats:
    """(rows · cell, columns · cell, 2) of (rows + 2, columns + 2, 2) nodes, for each pixel."""
    height, width = places.shape[0] * cell, places.shape[1] * cell
    return np.asarray(cv2.resize(places, (width, height))[cell:-cell, cell:-cell], np.float32)
