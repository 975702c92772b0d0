"""How a picture moves with the head in it: smooth fields of small turns and shifts."""

import math
from dataclasses import dataclass
from enum import IntEnum

import cv2
import numpy as np
from numpy.typing import NDArray

from gpu_service.data import Frame, Landmarks
from gpu_service.engines.facewarp.warp.fields import Controls, Grid, solve_fields
from gpu_service.engines.facewarp.warp.geometry import (
    LEFT_EAR,
    NO_MAP,
    RIGHT_EAR,
    Floats,
    HeadFrame,
)

COARSE = 4
"""Cells of the mouth's grid along a cell of the head's."""
OVAL = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
    152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)  # fmt: skip
"""The face's outline, clockwise from the middle of the forehead."""
_BROWS = ((70, 63, 105, 66, 107), (300, 293, 334, 296, 336))
_PIVOTS = ((0.5, 0.15), (0.5, 0.25), (0.5, 0.25))
"""Where the head yaws, pitches and rolls, in face widths down and back of the middle between the
ears. A head yaws about a joint that is hardly behind them, so that its outline, and with it what
surrounds it, stays where it is while the face turns."""
_EARS, _HAIR = 1.12, 1.34
"""How much further than the face's outline the head reaches, to the sides and upwards."""
_FADE = 0.55
"""Over how many face widths what surrounds the head is pulled along: on less, straight lines in
the background would bend; on more, the shoulders would swim."""
_BORDER = 0.35
"""Over how many face widths a movement towards a border of the picture dies away."""
_BROW_LIFT = 0.035
"""How far raised brows go up, in face widths."""
_BROW_BELOW, _BROW_ABOVE = 0.06, 0.22
"""How far the skin goes with them, in face widths."""
_FIXED_POINTS = 3
_NUM_MESH = 468
_DEPTH_WEIGHT = 3.0


class Move(IntEnum):
    """One movement; `Pose` gives its coefficients in this order."""

    YAW = 0
    PITCH = 1
    ROLL = 2
    X = 3
    Y = 4
    BROW = 5


@dataclass(frozen=True)
class Head:
    """What moves with the head of one portrait."""

    grid: Grid
    """Over everything that moves; the mouth's grid is a part of it, node by node."""
    fields: Floats
    """(num_moves, rows / COARSE, columns / COARSE, 2) pixels for a degree or a face width."""

    def offsets(self, coeffs: Floats) -> Floats:
        """(rows, columns, 2) where the grid's nodes come from, relative to them, in pixels.

        Args:
            coeffs: (num_moves,)
        """
        cell = self.grid.cell * COARSE
        in_cells = np.tensordot(coeffs, self.fields, 1) / np.float32(cell)
        rows, columns = in_cells.shape[:2]
        nodes = np.stack(
            np.meshgrid(np.arange(columns, dtype=np.float32), np.arange(rows, dtype=np.float32)),
            axis=-1,
        )
        source: Floats = nodes - in_cells
        for _ in range(_FIXED_POINTS):
            source = nodes - cv2.remap(
                in_cells, source, NO_MAP, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
            )
        back = (source - nodes) * cell
        return np.asarray(cv2.resize(back, (columns * COARSE, rows * COARSE)), np.float32)


def build_head(frame: Frame, landmarks: Landmarks, head: HeadFrame, mouth_grid: Grid) -> Head:
    """The fields of a head, zero far from it and never across a border of the picture.

    Args:
        frame: The picture.
        landmarks: Of the face.
        head: Its frame.
        mouth_grid: What the head's grid contains, with the same cells.
    """
    outline = head_outline(landmarks, head)
    grid = _grid(frame, outline, head, mouth_grid)
    coarse = Grid(grid.x, grid.y, grid.cell * COARSE, grid.columns // COARSE, grid.rows // COARSE)
    nearness = _nearness(coarse, outline, head)
    turns = _turns(coarse, _depth(coarse, outline, landmarks), landmarks, head)
    fields = np.zeros((len(Move), coarse.rows, coarse.columns, 2), np.float32)
    fields[: Move.X] = turns * math.radians(1)
    # Breath lifts a head along its neck, which is across the picture where the head lies.
    fields[Move.X], fields[Move.Y] = (_flat(axis) * head.face_width for axis in head.axes[:2])
    fields *= nearness[..., None]
    fields[Move.BROW] = _brows(coarse, landmarks, head)
    _hold(fields, coarse, frame, head)
    return Head(grid, fields)


def head_outline(landmarks: Landmarks, head: HeadFrame) -> Floats:
    """(n, 2) convex outline of the face with its ears and hair."""
    oval = landmarks[list(OVAL), :2]
    centre = oval.mean(axis=0)
    outward = oval - centre
    unit = outward / np.maximum(np.linalg.norm(outward, axis=1, keepdims=True), 1e-3)
    down = _flat(head.axes[1])
    along = (unit @ down)[:, None]
    reach = _EARS + (_HAIR - _EARS) * np.clip(-along, 0, 1) - (_EARS - 1) * np.clip(along, 0, 1)
    pushed = (centre + outward * reach).astype(np.float32)
    return np.asarray(cv2.convexHull(pushed).reshape(-1, 2), np.float32)


def _flat(axis: Floats) -> Floats:
    """An axis of the head as a unit vector in the picture."""
    return np.asarray(axis[:2] / max(float(np.linalg.norm(axis[:2])), 1e-3), np.float32)


def _grid(frame: Frame, outline: Floats, head: HeadFrame, mouth_grid: Grid) -> Grid:
    """Cells of the mouth's grid, continued to all that moves within the picture."""
    height, width = frame.shape[:2]
    cell = mouth_grid.cell
    fade = _FADE * head.face_width
    low = np.maximum(outline.min(axis=0) - fade, 0)
    high = np.minimum(outline.max(axis=0) + fade, (width, height))
    corner = np.array([mouth_grid.x, mouth_grid.y])
    size = np.array([mouth_grid.columns, mouth_grid.rows])
    before = np.maximum(np.ceil((corner - low) / cell), 0).astype(int)
    total = np.maximum(before + size, np.ceil((high - corner) / cell).astype(int) + before)
    total = -(-total // COARSE) * COARSE
    x, y = (corner - before * cell).tolist()
    columns, rows = total.tolist()
    return Grid(x, y, cell, columns, rows)


def _filled(grid: Grid, outline: Floats) -> NDArray[np.uint8]:
    mask = np.zeros((grid.rows, grid.columns), np.uint8)
    cv2.fillConvexPoly(mask, np.rint(grid.nodes(outline)).astype(np.int32), 1)
    return mask


def _nearness(grid: Grid, outline: Floats, head: HeadFrame) -> Floats:
    """(rows, columns) 1 on the head, falling to 0 around it."""
    # The outline may lie beyond the grid, where no node would tell how far it is.
    pad = math.ceil(head.face_width / grid.cell)
    wide = Grid(
        grid.x - pad * grid.cell, grid.y - pad * grid.cell, grid.cell,
        grid.columns + 2 * pad, grid.rows + 2 * pad,
    )  # fmt: skip
    outside = 1 - _filled(wide, outline)
    away = cv2.distanceTransform(outside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE).astype(np.float32)
    fading = _smooth(1 - away * grid.cell / (_FADE * head.face_width))
    # Distances have creases where two sides of the outline are equally near.
    soft = cv2.GaussianBlur(fading, (0, 0), max(0.06 * head.face_width / grid.cell, 0.5))
    return np.asarray(soft[pad : pad + grid.rows, pad : pad + grid.columns], np.float32)


def _smooth(share: Floats) -> Floats:
    """0 to 1 with two derivatives that vanish at either end."""
    t = np.clip(share, 0, 1)
    return np.asarray(t**3 * (t * (6 * t - 15) + 10), np.float32)


def _depth(grid: Grid, outline: Floats, landmarks: Landmarks) -> Floats:
    """(rows, columns) how far before the ears the head's surface lies, in pixels."""
    mesh = landmarks[:_NUM_MESH]
    ears = landmarks[[LEFT_EAR, RIGHT_EAR], 2].mean()
    moves = np.zeros((len(mesh), 1, 2), np.float32)
    moves[:, 0, 0] = ears - mesh[:, 2]
    reach = _filled(grid, outline).astype(bool)
    reach[[0, -1]] = False
    reach[:, [0, -1]] = False
    weights = np.full(len(mesh), _DEPTH_WEIGHT, np.float32)
    return solve_fields(grid, reach, Controls(mesh[:, :2], weights, moves))[0, ..., 0]


def _turns(grid: Grid, depth: Floats, landmarks: Landmarks, head: HeadFrame) -> Floats:
    """(3, rows, columns, 2) movements of the surface for one radian of yaw, pitch and roll."""
    right, down, back = head.axes
    ears = landmarks[[LEFT_EAR, RIGHT_EAR]].mean(axis=0)
    surface = np.concatenate((grid.pixels(), (ears[2] - depth)[..., None]), axis=-1)
    turns = []
    for axis, (below, behind) in zip((-down, right, back), _PIVOTS, strict=True):
        pivot = ears + (below * down + behind * back) * head.face_width
        turns.append(np.cross(axis, surface - pivot)[..., :2])
    return np.stack(turns)


def _brows(grid: Grid, landmarks: Landmarks, head: HeadFrame) -> Floats:
    """(rows, columns, 2) of raised brows."""
    up = -_flat(head.axes[1])
    nodes = grid.pixels()
    share = np.zeros(nodes.shape[:2], np.float32)
    for brow in _BROWS:
        points = landmarks[list(brow), :2]
        along = np.linspace(0, len(points) - 1, 17)
        line = np.stack(
            [np.interp(along, np.arange(len(points)), points[:, axis]) for axis in (0, 1)], axis=1
        )
        offset = nodes[:, :, None] - line
        height = offset @ up
        wide = np.where(height > 0, _BROW_ABOVE, _BROW_BELOW) * head.face_width
        across = np.linalg.norm(offset - height[..., None] * up, axis=-1)
        away = (height / wide) ** 2 + (across / (0.10 * head.face_width)) ** 2
        share = np.maximum(share, np.exp(-away.min(axis=2)))
    return np.asarray(up * (_BROW_LIFT * head.face_width) * share[..., None], np.float32)


def _hold(fields: Floats, grid: Grid, frame: Frame, head: HeadFrame) -> None:
    """Let nothing cross a border of the picture, beyond which only streaks are."""
    height, width = frame.shape[:2]
    x, y = np.moveaxis(grid.pixels(), -1, 0)
    reach = _BORDER * head.face_width
    fields[..., 0] *= _smooth(np.minimum(x, width - 1 - x) / reach)
    fields[..., 1] *= _smooth(np.minimum(y, height - 1 - y) / reach)
