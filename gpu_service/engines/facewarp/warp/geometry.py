"""The frames of reference of a face and its mouth, and the line along which the lips part."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

from gpu_service.data import Image, Landmarks

Floats = NDArray[np.floating]
"""Coordinates and colours; float32 wherever a frame's time is spent on them."""
NO_MAP = np.empty((0, 0), np.float32)
"""cv2.remap takes both coordinates in its first map."""

UPPER_INNER = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308)
LOWER_INNER = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308)
LEFT_CORNER, RIGHT_CORNER = 78, 308
LEFT_EAR, RIGHT_EAR = 234, 454

SEAM_POINTS = 41
SEAM_U = np.linspace(-1.0, 1.0, SEAM_POINTS, dtype=np.float32)
"""Where along the mouth the lip edges are sampled, from corner to corner."""

MIDDLE = slice(SEAM_POINTS // 2 - 3, SEAM_POINTS // 2 + 4)
"""The points of SEAM_U in the middle of the mouth."""

CLOSED_GAP = 0.17
"""A gap below this, in half mouths, is lips that merely touch or part a little."""
_TEETH_GAP = 0.07
"""From this gap on, in half mouths, teeth may be seen between the lips."""
_OFFSETS = 31
"""Places across an edge at which it is looked for."""
_TOUCHING = 0.02
"""Lips that touch are seen this far apart."""


@dataclass(frozen=True)
class HeadFrame:
    """Right, down and back of a head, and the unit its mouth gives."""

    origin: Floats
    """(3,) the middle of the mouth."""
    axes: Floats
    """(3, 3) rows: towards the picture's right, down the face, towards the back."""
    half_mouth: float
    """Half the distance of the mouth's corners in space, in pixels."""
    face_width: float
    """Ear to ear in space, in pixels."""

    def local(self, points: Floats) -> Floats:
        """(n, 3) points in half mouths: right, down, back of the middle of the mouth."""
        return np.asarray((points - self.origin) @ self.axes.T / self.half_mouth, np.float32)

    def moves(self, local: Floats) -> Floats:
        """(n, 2) movements in picture pixels of (n, 3) movements in half mouths."""
        return np.asarray((local @ self.axes)[:, :2] * self.half_mouth, np.float32)


@dataclass(frozen=True)
class MouthFrame:
    """The mouth in the picture: u runs from corner (-1) to corner (1), v down the face."""

    origin: Floats
    """(2,) pixels."""
    axis_u: Floats
    """(2,) unit vector along the corners."""
    half_mouth: float
    """Half the distance of the corners, in pixels."""

    def local(self, points: Floats) -> Floats:
        """(..., 2) pixels to (u, v)."""
        offset = points - self.origin
        u = offset @ self.axis_u
        v = offset @ self.axis_v
        return np.asarray(np.stack((u, v), axis=-1) / self.half_mouth, np.float32)

    def pixels(self, local: Floats) -> Floats:
        """(..., 2) of (u, v) to pixels."""
        moved = local[..., :1] * self.axis_u + local[..., 1:] * self.axis_v
        return np.asarray(self.origin + moved * self.half_mouth, np.float32)

    @property
    def axis_v(self) -> Floats:
        """(2,) unit vector down the face."""
        return np.array([-self.axis_u[1], self.axis_u[0]], np.float32)


@dataclass(frozen=True)
class LipEdges:
    """The inner edges of the lips in the source picture, at SEAM_U."""

    upper: Floats
    """(SEAM_POINTS,) v of the upper lip's edge."""
    lower: Floats
    """(SEAM_POINTS,) v of the lower lip's edge; equal to `upper` where the lips touch."""
    parting: Floats
    """(SEAM_POINTS,) how far the landmarks see the lips apart, also where one seam is used."""

    @property
    def gap(self) -> float:
        """How far the lips part in the middle, in half mouths."""
        return float(self.parting[MIDDLE].mean())

    @property
    def lift(self) -> float:
        """How far the whole mouth rises as its lips meet, in half mouths.

        What parts the lips of a mouth that is wide open is the jaw, which takes the corners along.
        """
        return self.gap * float(np.interp(self.gap, (0.4, 1.0), (0.0, 0.18)))

    @property
    def closed(self) -> bool:
        """Whether one seam separates the lips."""
        return not np.any(self.lower > self.upper)


def _unit(vector: NDArray[np.floating]) -> Floats:
    return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-6), np.float32)


def head_frame(landmarks: Landmarks) -> HeadFrame:
    """The head's own axes, from its own landmarks.

    The pitch that MediaPipe's depth gives is biased by 10 to 17 degrees on frontal faces, so the
    axes serve to carry movements into the picture and not as angles.
    """
    pairs = ((LEFT_EAR, RIGHT_EAR), (33, 263), (61, 291))
    right = _unit(np.sum([_unit(landmarks[b] - landmarks[a]) for a, b in pairs], axis=0))
    down = landmarks[152] - landmarks[10]
    down = _unit(down - right * float(down @ right))
    axes = np.stack((right, down, np.cross(right, down)))
    corners = landmarks[[LEFT_CORNER, RIGHT_CORNER]]
    half_mouth = float(np.linalg.norm(corners[1] - corners[0])) / 2
    face_width = float(np.linalg.norm(landmarks[RIGHT_EAR] - landmarks[LEFT_EAR]))
    return HeadFrame(corners.mean(axis=0), axes, max(half_mouth, 1.0), max(face_width, 1.0))


def mouth_frame(landmarks: Landmarks) -> MouthFrame:
    """The mouth's frame in the picture."""
    corners = landmarks[[LEFT_CORNER, RIGHT_CORNER], :2]
    span = corners[1] - corners[0]
    half = float(np.linalg.norm(span)) / 2
    axis = _unit(span) if half > 0.5 else np.array([1.0, 0.0], np.float32)
    return MouthFrame(corners.mean(axis=0), axis, max(half, 1.0))


def edge_through(local: Floats) -> Floats:
    """A lip edge at SEAM_U through landmarks (u, v); the ends lie in the corners."""
    order = np.argsort(local[:, 0])
    u, v = local[order, 0].astype(np.float64), local[order, 1]
    # A far turned head folds its contour; landmarks that fall back are left out.
    keep = np.concatenate(([True], np.diff(np.maximum.accumulate(u)) > 1e-3))
    curve = PchipInterpolator(u[keep], v[keep], extrapolate=False)(np.clip(SEAM_U, u[0], u[-1]))
    return np.asarray(np.nan_to_num(curve), np.float32)


def lip_edges(image: Image, landmarks: Landmarks, frame: MouthFrame) -> LipEdges:
    """The edges of the lips: one seam on the dark line where they touch, else two contours."""
    upper = edge_through(frame.local(landmarks[list(UPPER_INNER), :2]))
    lower = edge_through(frame.local(landmarks[list(LOWER_INNER), :2]))
    lower = np.maximum(lower, upper)
    parting = lower - upper
    gap = float(parting[MIDDLE].mean())
    if gap < CLOSED_GAP and not (gap > _TEETH_GAP and _shows_teeth(image, frame, upper, lower)):
        seam = _snap_seam(image, frame, (upper + lower) / 2)
        return LipEdges(seam, seam, np.maximum(parting - _TOUCHING, 0))
    upper = _snap_edge(image, frame, upper)
    lower = np.maximum(_snap_edge(image, frame, lower), upper + 1e-3)
    return LipEdges(upper, lower, lower - upper)


def _shows_teeth(image: Image, frame: MouthFrame, upper: Floats, lower: Floats) -> bool:
    """Whether what lies between the lips' edges is brighter or greyer than both lips."""

    def colours(v: Floats) -> tuple[float, float]:
        points = frame.pixels(np.stack((SEAM_U, v), axis=1))[MIDDLE]
        sampled = cv2.remap(
            image, points[None, :, 0], points[None, :, 1], cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )[0].astype(np.float32)  # fmt: skip
        high, low = sampled.max(axis=1), sampled.min(axis=1)
        return float(np.median(high)), float(np.median((high - low) / np.maximum(high, 1)))

    between = [colours(upper + share * (lower - upper)) for share in (0.35, 0.5, 0.65)]
    lips = [colours(upper - 0.12), colours(lower + 0.12)]
    brightest = max(value for value, _ in lips)
    darkest = min(value for value, _ in lips)
    palest = min(saturation for _, saturation in lips)
    return any(
        value > 1.1 * brightest or (value > 0.75 * darkest and saturation < 0.62 * palest)
        for value, saturation in between
    )


def _snap_seam(image: Image, frame: MouthFrame, seam: Floats) -> Floats:
    """Move a seam onto the dark line between the lips."""
    reach = 0.10
    luma = _around(image, frame, seam, np.linspace(-reach, reach, _OFFSETS)).mean(axis=2)
    contrast = max(float(np.ptp(luma)), 1.0)
    # The landmarks are trusted most in the corners, where several dark lines meet.
    trust = 0.15 + 2.0 * np.abs(SEAM_U) ** 8
    return _snapped(seam, luma / contrast, trust, reach)


def _snap_edge(image: Image, frame: MouthFrame, edge: Floats) -> Floats:
    """Move the edge of a lip to where the colour changes most across it."""
    reach, side = 0.06, 3
    step = 2 * reach / (_OFFSETS - 1)
    offsets = np.linspace(-reach - side * step, reach + side * step, _OFFSETS + 2 * side)
    colours = _around(image, frame, edge, offsets)
    change = np.linalg.norm(colours[:, 2 * side :] - colours[:, : -2 * side], axis=2)
    strongest = max(float(np.percentile(change, 95)), 1.0)
    trust = 0.35 + 2.0 * np.abs(SEAM_U) ** 8
    return _snapped(edge, 1 - np.minimum(change / strongest, 1), trust, reach)


def _around(image: Image, frame: MouthFrame, edge: Floats, offsets: Floats) -> Floats:
    """(SEAM_POINTS, len(offsets), 3) colours on lines across an edge."""
    u = np.repeat(SEAM_U[:, None], len(offsets), axis=1)
    points = frame.pixels(np.stack((u, edge[:, None] + offsets), axis=-1)).astype(np.float32)
    colours = cv2.remap(
        image, points[..., 0], points[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    smooth = cv2.GaussianBlur(colours.astype(np.float32), (1, 3), 0.6)
    return np.asarray(smooth, np.float32)


def _snapped(edge: Floats, cost: Floats, trust: Floats, reach: float) -> Floats:
    """Move an edge along the offsets of least cost, keeping it smooth and near."""
    offsets = np.linspace(-reach, reach, _OFFSETS)
    near = trust[:, None] * (offsets / reach) ** 2
    index = np.arange(_OFFSETS)
    path = cheapest_path(cost + near, 0.02 * (index[:, None] - index[None, :]) ** 2)
    moved = np.pad(edge + offsets[path], 2, mode="edge")
    return np.asarray(np.convolve(moved, np.full(5, 0.2), "valid"), np.float32)


def cheapest_path(cost: Floats, step: Floats) -> NDArray[np.intp]:
    """One state for each row of `cost` (rows, states) with the least sum of costs and steps."""
    total = cost[0].astype(np.float64)
    came_from = np.zeros(cost.shape, np.intp)
    for row in range(1, len(cost)):
        options = total[None, :] + step
        came_from[row] = options.argmin(axis=1)
        total = options.min(axis=1) + cost[row]
    path = np.zeros(len(cost), np.intp)
    path[-1] = total.argmin()
    for row in range(len(cost) - 1, 0, -1):
        path[row - 1] = came_from[row, path[row]]
    return path
