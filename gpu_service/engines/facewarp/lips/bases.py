"""The movements a mouth is made of, as displacements of the face's landmarks."""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from gpu_service.data import Landmarks
from gpu_service.engines.facewarp.warp.fields import Controls
from gpu_service.engines.facewarp.warp.geometry import (
    LEFT_EAR,
    LOWER_INNER,
    RIGHT_EAR,
    SEAM_POINTS,
    SEAM_U,
    UPPER_INNER,
    Floats,
    HeadFrame,
    LipEdges,
    MouthFrame,
)


class Basis(IntEnum):
    """One movement; its coefficient is 0 in the source picture."""

    JAW = 0
    """The jaw turns about the ears; 1 is the widest of speech."""
    WIDE = 1
    """The corners go out; negative brings them in."""
    ROUND = 2
    """The lips purse and come forward."""
    PRESS = 3
    """The lips roll in and press on each other."""
    TUCK = 4
    """The lower lip goes under the upper teeth, the upper lip lifts."""
    CLOSE = 5
    """Lips that are apart in the source picture meet."""


DROP = 0.72
"""How far the jaw lowers the lower lip, in half mouths."""

# From the outer edge of the lip to the inner, each from corner to corner.
_UPPER_RINGS = (
    (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291),
    (76, 184, 74, 73, 72, 11, 302, 303, 304, 408, 306),
    (62, 183, 42, 41, 38, 12, 268, 271, 272, 407, 292),
    UPPER_INNER,
)
_LOWER_RINGS = (
    (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291),
    (76, 77, 90, 180, 85, 16, 315, 404, 320, 307, 306),
    (62, 96, 89, 179, 86, 15, 316, 403, 319, 325, 292),
    LOWER_INNER,
)
_OUTERNESS = (1.0, 0.67, 0.33, 0.0)
# From the chin to the ear, on either side: how much of the jaw's turn the contour follows.
_JAWLINE = (
    ((152,), 1.0), ((148, 377), 1.0), ((176, 400), 0.98), ((149, 378), 0.94), ((150, 379), 0.88),
    ((136, 365), 0.8), ((172, 397), 0.7), ((58, 288), 0.6), ((132, 361), 0.35), ((93, 323), 0.12),
    ((234, 454), 0.0),
)  # fmt: skip
_HALF_MOUTH = 0.185
"""Half a mouth at rest, in face widths: adults' mouths are about 50 mm wide, their faces 135."""
OVERLAP = 0.03
"""How far lips that meet press into each other, in half mouths, or a sliver of teeth would stay."""
UPPER_SHARE = 0.36
"""Which part of the gap the upper lip goes until lips that are apart in the source meet."""
_LIP_WEIGHT, _EDGE_WEIGHT, _FACE_WEIGHT = 12.0, 40.0, 3.0
_NUM_MESH = 468


@dataclass(frozen=True)
class _Lip:
    """Points of one lip, and where on it they lie."""

    points: Floats
    """(n, 2) pixels."""
    local: Floats
    """(n, 3) half mouths."""
    u: Floats
    """(n,) from corner (-1) to corner (1)."""
    outer: Floats
    """(n,) 0 on the inner edge, 1 on the outer."""
    weights: Floats
    gap: Floats
    """(n,) how far the lips are apart there in the source, in half mouths."""


@dataclass(frozen=True)
class FaceControls:
    """What pulls the two fields of a face."""

    upper: Controls
    """Of the field above the seam: the face without the lower lip."""
    lower: Controls
    """Of the field below the seam: the face without the upper lip."""


def movement_unit(head: HeadFrame) -> float:
    """Half a mouth at rest as the face's width tells it, in half mouths of the picture.

    A grin widens the mouth, a pout narrows it and a moustache hides its corners; none of these
    changes how far a jaw drops. Drawn faces with tiny mouths stay near what is drawn.
    """
    return min(_HALF_MOUTH * head.face_width / head.half_mouth, 1.5)


def face_controls(
    landmarks: Landmarks, head: HeadFrame, mouth: MouthFrame, edges: LipEdges
) -> FaceControls:
    """The control points of a face and how each movement moves them."""
    upper = _lip(landmarks, head, mouth, edges, _UPPER_RINGS, edges.upper)
    lower = _lip(landmarks, head, mouth, edges, _LOWER_RINGS, edges.lower)
    face = _face(landmarks, head, edges)
    return FaceControls(
        _joined(
            face,
            upper,
            _lip_moves(upper, head, landmarks, edges, is_upper=True),
            head,
        ),
        _joined(
            face,
            lower,
            _lip_moves(lower, head, landmarks, edges, is_upper=False),
            head,
        ),
    )


def _joined(face: Controls, lip: _Lip, moves: Floats, head: HeadFrame) -> Controls:
    in_picture = np.stack([head.moves(moves[:, basis]) for basis in range(len(Basis))], axis=1)
    return Controls(
        np.concatenate((face.points, lip.points)),
        np.concatenate((face.weights, lip.weights)),
        np.concatenate((face.moves, in_picture)),
    )


def _lip(
    landmarks: Landmarks,
    head: HeadFrame,
    mouth: MouthFrame,
    edges: LipEdges,
    rings: tuple[tuple[int, ...], ...],
    edge: Floats,
) -> _Lip:
    index = np.array(rings)
    local = head.local(landmarks[index.ravel()])
    # Inside the picture's own lip edge stands in for the landmarks of the innermost ring.
    num_landmarks = 3 * index.shape[1]
    inner = local[num_landmarks:]
    order = np.argsort(inner[:, 0])
    depth = np.interp(SEAM_U, inner[order, 0], inner[order, 2])
    seam_local = np.stack((SEAM_U, edge, depth), axis=1)
    seam_points = mouth.pixels(np.stack((SEAM_U, edge), axis=1))
    flat = mouth.local(landmarks[index.ravel()[:num_landmarks], :2])
    u = np.clip(np.concatenate((flat[:, 0] / 1.08, SEAM_U)), -1, 1)
    outer = np.repeat(_OUTERNESS[:3], index.shape[1])
    return _Lip(
        np.concatenate((landmarks[index.ravel()[:num_landmarks], :2], seam_points)),
        np.concatenate((local[:num_landmarks], seam_local)).astype(np.float32),
        u.astype(np.float32),
        np.concatenate((outer, np.zeros(SEAM_POINTS))).astype(np.float32),
        np.concatenate(
            (np.full(num_landmarks, _LIP_WEIGHT), np.full(SEAM_POINTS, _EDGE_WEIGHT))
        ).astype(np.float32),
        np.interp(u, SEAM_U, edges.parting).astype(np.float32),
    )


def _jaw(local: Floats, weights: Floats, head: HeadFrame, landmarks: Landmarks) -> Floats:
    """(n, 3) of a turn about the axis through the ears, which lowers the lower lip by DROP."""
    joint = head.local(landmarks[[LEFT_EAR, RIGHT_EAR]]).mean(axis=0)
    arm = local - joint
    lip = head.local(landmarks[[14]])[0] - joint
    turn = DROP / max(float(-lip[2]), 0.5)
    moved = np.stack((np.zeros(len(arm)), -arm[:, 2], arm[:, 1]), axis=1) * turn
    return np.asarray(moved * weights[:, None], np.float32)


def _lip_moves(
    lip: _Lip, head: HeadFrame, landmarks: Landmarks, edges: LipEdges, *, is_upper: bool
) -> Floats:
    """(n, num_bases, 3) half mouths; the lengths were chosen by eye on photos and paintings."""
    unit = movement_unit(head)
    u, outer = lip.u, lip.outer
    middle = 1 - u**2
    up = -1.0 if is_upper else 1.0
    moves = np.zeros((len(u), len(Basis), 3), np.float32)
    # The steep sides of the lower lip's curve make the opening round instead of pointed.
    weights = 0.28 * np.abs(u) ** 3 if is_upper else 0.28 + 0.72 * (1 - np.abs(u) ** 3.2)
    moves[:, Basis.JAW] = _jaw(lip.local, weights, head, landmarks)
    # A mouth that opens draws its corners in.
    moves[:, Basis.JAW, 0] -= 0.10 * u

    moves[:, Basis.WIDE, 0] = 0.17 * u
    moves[:, Basis.WIDE, 1] = -0.05 * u**2 - up * 0.03 * outer * middle
    moves[:, Basis.WIDE, 2] = 0.12 * u**2

    # Grins have further to go.
    excess = max(0.0, 1 - 0.19 * head.face_width / head.half_mouth)
    moves[:, Basis.ROUND, 0] = -(0.28 + 0.4 * excess) * u
    moves[:, Basis.ROUND, 1] = up * 0.045 * outer * middle
    moves[:, Basis.ROUND, 2] = -0.22 * (1 - 0.3 * u**2)

    moves[:, Basis.PRESS, 1] = -up * (0.025 + 0.065 * outer) * (1 - u**4)
    moves[:, Basis.PRESS, 2] = 0.05

    lift = 0.09 if is_upper else 0.10 - 0.05 * outer
    moves[:, Basis.TUCK, 1] = -lift * middle
    moves[:, Basis.TUCK, 2] = 0.0 if is_upper else 0.08
    moves *= unit

    # Closing is measured on this mouth, so it takes no unit.
    share = _closing(outer, edges, is_upper=is_upper)
    pressing = 1 + OVERLAP / max(edges.gap, 10 * OVERLAP)
    moves[:, Basis.CLOSE, 1] = pressing * share * lip.gap
    if not edges.closed:
        moves[:, Basis.CLOSE, 1] -= edges.lift
    moves[:, Basis.CLOSE, 0] = -0.5 * excess * u * min(1.0, float(lip.gap.max()) / 0.3)
    return moves


def _closing(outer: Floats, edges: LipEdges, *, is_upper: bool) -> Floats:
    """Which part of the gap each point of a lip goes to meet the other.

    The outer edge follows less: lips that a smile has stretched thin grow full again.
    """
    if edges.closed:
        return (1 if is_upper else -1) * (0.5 - 0.4 * outer)
    return (UPPER_SHARE - 0.12 * outer) if is_upper else -(1 - UPPER_SHARE - 0.05 * outer)


def _face(landmarks: Landmarks, head: HeadFrame, edges: LipEdges) -> Controls:
    """Everything but the lips: the still upper face, the jaw's contour and the chin.

    Cheeks are left out: they follow what surrounds them.
    """
    local = head.local(landmarks[:_NUM_MESH])
    weights = np.full(_NUM_MESH, np.nan, np.float32)
    weights[local[:, 1] < -0.55] = 0.0
    lip_bottom = float(local[17, 1])
    chin = (local[:, 1] > lip_bottom + 0.15) & (np.abs(local[:, 0]) < 1.0)
    weights[chin] = 0.97
    for pair, weight in _JAWLINE:
        weights[list(pair)] = weight
    lips = np.unique(np.array(_UPPER_RINGS + _LOWER_RINGS))
    weights[lips] = np.nan
    kept = np.flatnonzero(~np.isnan(weights))
    jaw = weights[kept]
    moves = np.zeros((len(kept), len(Basis), 3), np.float32)
    moves[:, Basis.JAW] = _jaw(local[kept], jaw, head, landmarks) * movement_unit(head)
    low = jaw * (local[kept, 1] > 0)
    rise = 0.0 if edges.closed else 0.5 * edges.gap + edges.lift
    moves[:, Basis.CLOSE, 1] = -rise * low
    moves[:, Basis.PRESS, 1] = -0.02 * low
    moves[:, Basis.TUCK, 1] = -0.02 * low
    in_picture = np.stack([head.moves(moves[:, basis]) for basis in range(len(Basis))], axis=1)
    return Controls(
        landmarks[kept, :2],
        np.full(len(kept), _FACE_WEIGHT, np.float32),
        in_picture.astype(np.float32),
    )
