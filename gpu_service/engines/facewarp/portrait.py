"""What every frame of one portrait needs, computed once."""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from contracts.errors import NoFaceFound
from gpu_service.data import Box, Face, Frame, Image
from gpu_service.engines.facewarp.life.eyes import Eye, build_eyes
from gpu_service.engines.facewarp.life.head import OVAL, Head, build_head
from gpu_service.engines.facewarp.life.pose import LARGEST_TURN
from gpu_service.engines.facewarp.lips.bases import OVERLAP, Basis, face_controls, movement_unit
from gpu_service.engines.facewarp.lips.colours import mouth_colours, photo_texture
from gpu_service.engines.facewarp.lips.interior import Interior, Looks, build_interior
from gpu_service.engines.facewarp.lips.lip_textures import LipTextures, lip_textures
from gpu_service.engines.facewarp.lips.moustache import fringe
from gpu_service.engines.facewarp.lips.teeth import grown_teeth
from gpu_service.engines.facewarp.warp.fields import Grid, solve_fields
from gpu_service.engines.facewarp.warp.fine_picture import FinePicture
from gpu_service.engines.facewarp.warp.geometry import (
    MIDDLE,
    SEAM_U,
    Floats,
    HeadFrame,
    LipEdges,
    MouthFrame,
    head_frame,
    lip_edges,
    mouth_frame,
)

WIDEST_GAP = 0.68
"""How far the widest opening of speech parts the lips, in half mouths at rest."""
GRID_CELLS = 100
"""Most cells along the longer side of the moving region."""
_SIDE_REACH, _CHIN_REACH = 0.13, 0.22
"""How far beyond the face's outline the picture may move, beside it and below the chin, in face
widths: less and the background's edge would tear, more and it would swim."""
_BORDER = 2.0
"""Over how many lengths of a movement it dies away towards a border of the picture that it leaves:
what lies there is stretched to twice its size at most."""
_AREA_SIDE, _AREA_UP, _AREA_DOWN = 1.7, 0.75, 0.75
"""How far the mouth area reaches from the middle, above the upper lip's edge and below the lowest
place of the lower lip's, in half mouths: a head that sways takes the mouth some of it."""
_MARGIN = math.radians(LARGEST_TURN)
"""How far a head that turns takes the mouth, in face widths: it lies about one before the pivot."""
_MOST_REINFORCED = 1.8
"""By how much a movement that the border holds back is made larger."""
_TOP = -1.9
"""The highest point that moves, in half mouths: beneath the eyes."""


@dataclass(frozen=True)
class MouthArea:
    """The pixels around the mouth, where the lips part."""

    first_row: int
    first_column: int
    rows: int
    columns: int
    """In cells of the grid."""
    u: Floats
    v: Floats
    """(height, width) of each pixel in the mouth's frame."""

    @property
    def nodes(self) -> tuple[slice, slice]:
        """Which rows and columns of the grid."""
        return (
            slice(self.first_row, self.first_row + self.rows),
            slice(self.first_column, self.first_column + self.columns),
        )

    def box(self, cell: int) -> Box:
        """In pixels of the region, of a grid with such cells."""
        rows, columns = self.nodes
        return Box(columns.start * cell, rows.start * cell, columns.stop * cell, rows.stop * cell)


@dataclass(frozen=True)
class Portrait:
    """A face that is ready to speak."""

    grid: Grid
    """Of the mouth and the jaw."""
    canvas: Grid
    """Over everything that moves: the grid, or the head's, which contains it."""
    box: Box
    """The part of the canvas that lies in the picture."""
    pixels: Image
    """The source picture over the grid's region, continued beyond its borders."""
    source: Image
    """Likewise over the canvas."""
    fine: FinePicture
    """The same, to be read between its pixels, which are counted from the grid's corner."""
    head: Head | None
    """None where the head is to stay still."""
    eyes: tuple[Eye, ...]
    """Those that can be shut; none where they are to stay open."""
    mouth: MouthFrame
    """In pixels of the region."""
    edges: LipEdges
    widest_gap: float
    """How far the widest opening of speech parts the lips, in half mouths."""
    upper_fields: Floats
    lower_fields: Floats
    """(num_bases, rows, columns, 2) pixels."""
    upper_edge_moves: Floats
    lower_edge_moves: Floats
    """(num_bases, SEAM_POINTS, 2) half mouths, as the fields move the lips' edges."""
    node_uv: Floats
    """(rows, columns, 2) of the grid's nodes in the mouth's frame."""
    area: MouthArea
    textures: LipTextures
    fringe: Floats
    """(FRINGE_POINTS,) how far hair hangs below the upper lip's edge, in half mouths."""
    blur: float
    """Sigma of the Gaussian that the face looks blurred by, in pixels."""
    interior: Interior


def build_portrait(frame: Frame, face: Face, *, lively: bool = False) -> Portrait:
    """Prepare a face for rendering.

    Args:
        frame: The picture.
        face: In it.
        lively: Whether head and eyes move too.

    Raises:
        NoFaceFound: The picture's border cuts off the mouth.
    """
    landmarks = face.landmarks
    head, mouth = head_frame(landmarks), mouth_frame(landmarks)
    # Landmarks go on beyond the border where a part of the face is cut off.
    if (mouth.origin < 0).any() or (mouth.origin >= frame.shape[1::-1]).any():
        raise NoFaceFound("the picture's border cuts off the mouth")
    edges = lip_edges(frame, landmarks, mouth)
    outline = _outline(landmarks[list(OVAL), :2], head, mouth)
    grid = _grid(outline, _MARGIN * head.face_width if lively else 0.0)
    reach = _reach(grid, outline)
    controls = face_controls(landmarks, head, mouth, edges)
    solved = [solve_fields(grid, reach, side) for side in (controls.upper, controls.lower)]
    longest = np.maximum(np.abs(solved).max(axis=(0, 2, 3, 4)), 0.1)
    upper, lower = (_held(fields, longest, grid, frame) for fields in solved)
    _reinforce_closing(upper, lower, grid, mouth, edges)
    moving = build_head(frame, landmarks, head, grid) if lively else None
    canvas = moving.grid if moving else grid
    source = _region(frame, canvas)
    top, left = grid.y - canvas.y, grid.x - canvas.x
    pixels = np.ascontiguousarray(source[top : top + grid.height, left : left + grid.width])
    fine = FinePicture(source, (-left, -top))
    local = MouthFrame(
        mouth.origin - np.array([grid.x, grid.y], np.float32), mouth.axis_u, mouth.half_mouth
    )
    hair = fringe(frame, landmarks, mouth, edges)
    looks = _looks(frame, landmarks, head, mouth)
    lowest = float(edges.lower.max()) + _lowest_drop(lower, grid, mouth, edges)
    area = _mouth_area(grid, local, float(edges.upper.min()), lowest)
    return Portrait(
        grid=grid,
        canvas=canvas,
        box=Box(
            max(canvas.x, 0),
            max(canvas.y, 0),
            min(canvas.x + canvas.width, frame.shape[1]),
            min(canvas.y + canvas.height, frame.shape[0]),
        ),
        pixels=pixels,
        source=source,
        fine=fine,
        head=moving,
        eyes=build_eyes(source, landmarks, canvas) if lively else (),
        mouth=local,
        edges=edges,
        widest_gap=WIDEST_GAP * movement_unit(head),
        upper_fields=upper,
        lower_fields=lower,
        upper_edge_moves=_edge_moves(upper, grid, mouth, edges.upper),
        lower_edge_moves=_edge_moves(lower, grid, mouth, edges.lower),
        node_uv=mouth.local(grid.pixels()),
        area=area,
        textures=lip_textures(pixels, fine, local, edges, _around(area, grid), float(hair.max())),
        fringe=hair,
        blur=looks.texture.blur,
        interior=build_interior(pixels, local, edges, looks, area.u, area.v),
    )


def _looks(frame: Frame, landmarks: Floats, head: HeadFrame, mouth: MouthFrame) -> Looks:
    points = landmarks[:, :2]
    return Looks(
        mouth_colours(frame, points),
        photo_texture(frame, points),
        float(mouth.local(points[[13, 14]])[:, 0].mean()),
        movement_unit(head),
        grown_teeth(landmarks),
    )


def _outline(oval: Floats, head: HeadFrame, mouth: MouthFrame) -> Floats:
    """The convex outline of what may move: the face from the cheekbones to below the chin."""
    centre = oval.mean(axis=0)
    outward = oval - centre
    outward /= np.maximum(np.linalg.norm(outward, axis=1, keepdims=True), 1e-3)
    down = np.clip(outward @ mouth.axis_v, 0, 1)[:, None]
    margin = _SIDE_REACH + (_CHIN_REACH - _SIDE_REACH) * down
    local = mouth.local(oval + outward * margin * head.face_width)
    local[:, 1] = np.maximum(local[:, 1], _TOP)
    return np.asarray(cv2.convexHull(mouth.pixels(local)).reshape(-1, 2), np.float32)


def _grid(outline: Floats, margin: float) -> Grid:
    low, high = outline.min(axis=0), outline.max(axis=0)
    cell = max(1, math.ceil(float((high - low).max()) / GRID_CELLS))
    low, high = low - margin, high + margin
    corner = np.floor(low).astype(int) - 2 * cell
    columns, rows = (np.ceil((high - corner) / cell).astype(int) + 2).tolist()
    return Grid(int(corner[0]), int(corner[1]), cell, columns, rows)


def _reach(grid: Grid, outline: Floats) -> NDArray[np.bool_]:
    mask = np.zeros((grid.rows, grid.columns), np.uint8)
    cv2.fillConvexPoly(mask, np.rint(grid.nodes(outline)).astype(np.int32), 1)
    mask[[0, -1]] = 0
    mask[:, [0, -1]] = 0
    return mask.astype(bool)


def _held(fields: Floats, longest: Floats, grid: Grid, frame: Frame) -> Floats:
    """The fields so that they pull nothing in from beyond the picture, where only streaks are.

    Args:
        fields: (num_bases, rows, columns, 2) pixels.
        longest: (num_bases,) the longest movement of each, in pixels.
        grid: Where they are sampled.
        frame: The picture.
    """
    height, width = frame.shape[:2]
    x, y = np.moveaxis(grid.pixels(), -1, 0)
    # Only widening has coefficients of either sign.
    either_way = np.arange(len(Basis))[:, None, None] == Basis.WIDE
    held = fields.copy()
    for axis, depth, inward in (
        (0, x, 1),
        (0, width - 1 - x, -1),
        (1, y, 1),
        (1, height - 1 - y, -1),
    ):
        share = np.clip(depth / (_BORDER * longest[:, None, None]), 0, 1)
        pulls = either_way | (fields[..., axis] * inward > 0)
        held[..., axis] *= np.where(pulls, share, 1)
    return held


def _reinforce_closing(
    upper: Floats, lower: Floats, grid: Grid, mouth: MouthFrame, edges: LipEdges
) -> None:
    """Let lips that are apart meet although the picture's border holds the chin."""
    if edges.closed:
        return
    moves = _edge_moves(upper, grid, mouth, edges.upper)
    moves -= _edge_moves(lower, grid, mouth, edges.lower)
    reached = float(moves[Basis.CLOSE, MIDDLE, 1].mean())
    missing = min((edges.gap + OVERLAP) / max(reached, 0.01), _MOST_REINFORCED)
    for fields in (upper, lower):
        fields[Basis.CLOSE] *= max(missing, 1.0)


def _region(frame: Frame, grid: Grid) -> Image:
    height, width = frame.shape[:2]
    x1, y1 = (min(max(first, 0), size - 1) for first, size in ((grid.x, width), (grid.y, height)))
    x2, y2 = (
        max(min(grid.x + grid.width, width), x1 + 1),
        max(min(grid.y + grid.height, height), y1 + 1),
    )
    region = cv2.copyMakeBorder(
        frame[y1:y2, x1:x2],
        y1 - grid.y,
        grid.y + grid.height - y2,
        x1 - grid.x,
        grid.x + grid.width - x2,
        cv2.BORDER_REPLICATE,
    )
    return np.asarray(region, np.uint8)


def _edge_moves(fields: Floats, grid: Grid, mouth: MouthFrame, edge: Floats) -> Floats:
    """How each movement's field moves the points of a lip's edge, in half mouths (u, v)."""
    nodes = grid.nodes(mouth.pixels(np.stack((SEAM_U, edge), axis=1)))
    moved = np.stack(
        [
            cv2.remap(field, nodes[None, :, 0], nodes[None, :, 1], cv2.INTER_LINEAR)[0]
            for field in fields
        ]
    )
    along = np.stack((moved @ mouth.axis_u, moved @ mouth.axis_v), axis=-1)
    return np.asarray(along / mouth.half_mouth, np.float32)


def _lowest_drop(lower: Floats, grid: Grid, mouth: MouthFrame, edges: LipEdges) -> float:
    return float(_edge_moves(lower, grid, mouth, edges.lower)[Basis.JAW, :, 1].max())


def _mouth_area(grid: Grid, mouth: MouthFrame, highest: float, lowest: float) -> MouthArea:
    corners = np.array(
        [
            (u, v)
            for u in (-_AREA_SIDE, _AREA_SIDE)
            for v in (highest - _AREA_UP, lowest + _AREA_DOWN)
        ],
        np.float32,
    )
    points = mouth.pixels(corners) / grid.cell
    size = np.array([grid.columns, grid.rows])
    low = np.clip(np.floor(points.min(axis=0)).astype(int), 0, size - 2)
    high = np.clip(np.ceil(points.max(axis=0)).astype(int), low + 1, size)
    columns, rows = (high - low).tolist()
    x, y = np.meshgrid(
        np.arange(columns * grid.cell, dtype=np.float32) + low[0] * grid.cell,
        np.arange(rows * grid.cell, dtype=np.float32) + low[1] * grid.cell,
    )
    local = mouth.local(np.stack((x, y), axis=-1))
    return MouthArea(
        int(low[1]), int(low[0]), rows, columns,
        np.ascontiguousarray(local[..., 0]), np.ascontiguousarray(local[..., 1]),
    )  # fmt: skip


def _around(area: MouthArea, grid: Grid) -> Box:
    """The mouth area in pixels of the region, with a margin for what moves into it."""
    box = area.box(grid.cell)
    margin = box.height // 6
    return Box(
        max(box.x1 - margin, 0),
        max(box.y1 - margin, 0),
        min(box.x2 + margin, grid.width),
        min(box.y2 + margin, grid.height),
    )
