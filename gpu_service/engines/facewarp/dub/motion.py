"""How a head in a video and its own mouth move, as seen from one of its frames, the reference."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from gpu_service.data import Landmarks
from gpu_service.engines.facewarp.dub.landmarks import HALF_MOUTH, lip_gap
from gpu_service.engines.facewarp.portrait import Portrait
from gpu_service.engines.facewarp.warp.fields import Controls, solve_fields
from gpu_service.engines.facewarp.warp.geometry import (
    LEFT_CORNER,
    LOWER_INNER,
    RIGHT_CORNER,
    SEAM_U,
    UPPER_INNER,
    Floats,
    head_frame,
)

# Eyes, nose, forehead and temples: nothing that jaw, lips or cheeks carry along.
_NOSE: Final = (5, 4, 1, 19, 94, 2, 97, 326, 98, 327)
_UPPER_FACE: Final = (
    33, 133, 362, 263, 168, 6, 197, 195, 10, 151, 9, 8, 127, 356, 70, 300, 105, 334,
)  # fmt: skip
_RIGID: Final = (*_NOSE, *_UPPER_FACE)
_RIGID_WEIGHTS: Final = np.repeat((2.0, 1.0), (len(_NOSE), len(_UPPER_FACE)))
"""The nose counts most: it is what is nearest to the mouth."""
# From the outer edge of a lip inwards; the innermost ring is the seam.
_UPPER_LIP: Final = (
    61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 76, 184, 74, 73, 72, 11, 302, 303, 304, 408,
    306, 62, 183, 42, 41, 38, 12, 268, 271, 272, 407, 292,
)  # fmt: skip
_LOWER_LIP: Final = (
    61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 76, 77, 90, 180, 85, 16, 315, 404, 320, 307,
    306, 62, 96, 89, 179, 86, 15, 316, 403, 319, 325, 292,
)  # fmt: skip
_ABOUT_THE_MOUTH: Final = (*dict.fromkeys((*_UPPER_LIP, *_LOWER_LIP)), 2, 164, 18, 200)
_MIDDLE: Final = (61, 291, 78, 308, 0, 13, 14, 17)
"""Of the mouth: points whose mean lies in its middle, whatever it says."""
_NOSE_BASE: Final = (2, 97, 326, 164)
_FACE_WEIGHT, _LIP_WEIGHT, _EDGE_WEIGHT = 3.0, 12.0, 40.0
_STILL_ABOVE: Final = -0.55
"""What lies higher than this in the head, in half mouths, moves with the head alone."""
_NUM_MESH: Final = 468
_NUM_MOVES: Final = 14
"""Own movements of a mouth that are told apart; what is beyond is the landmarks' noise."""
_MOST_SAMPLES: Final = 400
"""So many frames, at most, tell which movements there are: a mouth soon repeats itself."""


@dataclass(frozen=True)
class Place:
    """One source frame, as seen from the reference."""

    to_frame: Floats
    """(2, 3) from pixels of the reference picture to pixels of the frame, about the mouth."""
    coeffs: Floats
    """(num_moves,) what the mouth does of itself there; all 0 is what the reference shows."""
    gap: float
    """How far the lips are apart there, in half mouths at rest."""


@dataclass(frozen=True)
class Motion:
    """What moves in a video before anybody dubs it."""

    places: Sequence[Place | None]
    """Of every frame; None where no face was found."""
    upper_fields: Floats
    lower_fields: Floats
    """(num_moves, rows, columns, 2) on the portrait's grid, in pixels of the reference: from each
    point to where a frame shows it, as the upper lip and as the lower lip have it."""


def measure_motion(
    portrait: Portrait, reference: Landmarks, seen: Sequence[Landmarks | None]
) -> Motion:
    """Measure every frame of a person against the reference.

    Args:
        portrait: Of the reference.
        reference: Its landmarks.
        seen: The landmarks in every frame; read twice, so that they need not be kept.
    """
    controls = _Controls(portrait, reference)

    def moved(landmarks: Landmarks) -> tuple[Floats, Floats]:
        posed = _posed(reference, landmarks)
        to_frame = _affine(reference, _anchored(posed, landmarks))
        return to_frame, controls.moves(landmarks, posed, to_frame)

    sampled = (seen[index] for index in range(0, len(seen), -(-len(seen) // _MOST_SAMPLES)))
    table = [moved(landmarks)[1] for landmarks in (*sampled, reference) if landmarks is not None]
    principal = _Principal(np.stack(table), controls.weights)

    def place(landmarks: Landmarks) -> Place:
        to_frame, moves = moved(landmarks)
        return Place(to_frame, principal.coeffs(moves), lip_gap(landmarks))

    # Nothing moves that no movement of the portrait reaches: there the frames stay as they are.
    fields = (portrait.upper_fields, portrait.lower_fields)
    reach = np.logical_or(*((each != 0).any(axis=(0, 3)) for each in fields))
    upper, lower = (
        solve_fields(
            portrait.grid,
            reach,
            Controls(controls.points[part], controls.weights[part], principal.moves[part]),
        )
        for part in (controls.upper, controls.lower)
    )
    places = [None if landmarks is None else place(landmarks) for landmarks in seen]
    return Motion(places, upper, lower)


def unlikeness(reference: Landmarks, landmarks: Landmarks) -> float:
    """How far the mouth of one face lies from another's, in half mouths at rest.

    The root of the mean square over its landmarks, once the head's pose is undone.
    """
    posed = _anchored(_posed(reference, landmarks), landmarks)
    off = (landmarks - posed)[list(_ABOUT_THE_MOUTH), :2]
    apart = float(np.sqrt(np.square(off).sum(axis=1).mean()))
    return apart / (HALF_MOUTH * head_frame(landmarks).face_width)


def _posed(reference: Landmarks, landmarks: Landmarks) -> Landmarks:
    """The reference's landmarks turned, scaled and shifted as the head is in a frame.

    Source: Umeyama, "Least-squares estimation of transformation parameters between two point
    patterns", IEEE PAMI 13 (1991), equations 39 to 43.
    """
    share = (_RIGID_WEIGHTS / _RIGID_WEIGHTS.sum())[:, None]
    here = reference[list(_RIGID)].astype(np.float64)
    there = landmarks[list(_RIGID)].astype(np.float64)
    middle_here, middle_there = (share * here).sum(axis=0), (share * there).sum(axis=0)
    here, there = here - middle_here, there - middle_there
    left, sizes, right = np.linalg.svd((share * there).T @ here)
    sign = np.array([1.0, 1.0, np.sign(np.linalg.det(left @ right))])
    turn = (left * sign) @ right
    scale = float((sizes * sign).sum() / max(float((share * here**2).sum()), 1e-6))
    return np.asarray((reference - middle_here) @ turn.T * scale + middle_there, np.float32)


def _anchored(posed: Landmarks, landmarks: Landmarks) -> Landmarks:
    """The posed landmarks, shifted so that the mouth sits where the face has it.

    The landmarks' depth is a guess, so a head that turns by 30 degrees leaves the mouth a third of
    its half width beside its place. Speech moves its middle neither to the left nor to the right,
    and the base of the nose not at all.
    """
    off = landmarks[:, :2] - posed[:, :2]
    across = posed[RIGHT_CORNER, :2] - posed[LEFT_CORNER, :2]
    across = across / max(float(np.linalg.norm(across)), 1e-6)
    along = float(off[list(_MIDDLE)].mean(axis=0) @ across)
    down = off[list(_NOSE_BASE)].mean(axis=0)
    shifted = posed.copy()
    shifted[:, :2] += down + (along - float(down @ across)) * across
    return shifted


def _affine(reference: Landmarks, posed: Landmarks) -> Floats:
    """(2, 3) that carries what is about the mouth from one pose to the other.

    A turn of the head is no affine map of the picture, but nearly one for an area as flat as the
    mouth; the lips' remaining parallax counts as a movement of theirs.
    """
    near = list(_ABOUT_THE_MOUTH)
    source = np.column_stack((reference[near, :2], np.ones(len(near)))).astype(np.float64)
    affine = np.linalg.pinv(source) @ posed[near, :2]
    return np.asarray(affine.T, np.float32)


class _Controls:
    """The points of the reference at which the mouth's own movements are measured."""

    def __init__(self, portrait: Portrait, reference: Landmarks) -> None:
        self._reference = reference
        lips = {*_UPPER_LIP, *_LOWER_LIP, *UPPER_INNER, *LOWER_INNER}
        self._face = [index for index in range(_NUM_MESH) if index not in lips]
        local = head_frame(reference).local(reference[self._face])
        # Towards the ears, and up to the nose, ever less of what is seen comes from the jaw: there
        # the outline of a head that turns slides over the skin.
        share = np.clip(1.5 - 0.5 * np.abs(local[:, 0]), 0, 1)
        share *= np.clip((local[:, 1] - _STILL_ABOVE) / 0.5, 0, 1)
        self._share = share[:, None]
        corner = np.array([portrait.grid.x, portrait.grid.y], np.float32)
        flat = portrait.mouth.local(reference[:, :2] - corner)
        self._inner = [
            _interpolation(flat[list(contour), 0]) for contour in (UPPER_INNER, LOWER_INNER)
        ]
        groups = [(reference[self._face, :2], _FACE_WEIGHT)]
        edges = (portrait.edges.upper, portrait.edges.lower)
        for lip, edge in zip((_UPPER_LIP, _LOWER_LIP), edges, strict=True):
            seam = portrait.mouth.pixels(np.stack((SEAM_U, edge), axis=1)) + corner
            groups += [(reference[list(lip), :2], _LIP_WEIGHT), (seam, _EDGE_WEIGHT)]
        self.points = np.concatenate([points for points, _ in groups]).astype(np.float32)
        self.weights = np.concatenate(
            [np.full(len(points), weight, np.float32) for points, weight in groups]
        )
        face, lip_end = len(self._face), len(self._face) + len(_UPPER_LIP) + len(SEAM_U)
        every = np.arange(len(self.points))
        self.upper = every[:lip_end]
        """Which of them pull the field of the upper lip."""
        self.lower = np.concatenate((every[:face], every[lip_end:]))
        """Likewise, of the lower lip."""

    def moves(self, landmarks: Landmarks, posed: Landmarks, to_frame: Floats) -> Floats:
        """(n, 2) from each point to where the frame shows it, in pixels of the reference."""
        back = np.linalg.inv(to_frame[:, :2]).T
        moved = (landmarks[:, :2] - to_frame[:, 2]) @ back - self._reference[:, :2]
        # Of the face only what the head does not do is undone: the frame's own pose stays.
        face = (landmarks - posed)[self._face, :2] @ back * self._share
        upper, lower = self._inner
        return np.concatenate(
            (
                face,
                moved[list(_UPPER_LIP)],
                upper @ moved[list(UPPER_INNER)],
                moved[list(_LOWER_LIP)],
                lower @ moved[list(LOWER_INNER)],
            )
        ).astype(np.float32)


def _interpolation(u: Floats) -> Floats:
    """(SEAM_POINTS, n) how much each landmark of an inner edge counts at each point of the seam."""
    # A far turned head folds its contour: what falls back counts as a step forward.
    rising = np.maximum.accumulate(u.astype(np.float64)) + 1e-5 * np.arange(len(u))
    return np.stack([np.interp(SEAM_U, rising, one) for one in np.eye(len(u))], axis=1)


class _Principal:
    """The few movements of which the movement in every frame is made.

    Principal components, but from the reference and not from the mean: there nothing moves.

    Args:
        moved: (num_samples, n, 2) pixels.
        weights: (n,) how much each point counts.
    """

    def __init__(self, moved: Floats, weights: Floats) -> None:
        self._stress = np.repeat(np.sqrt(weights.astype(np.float64)), 2)
        table = moved.reshape(len(moved), -1) * self._stress
        _, _, self._directions = np.linalg.svd(table, full_matrices=False)
        self._directions = self._directions[:_NUM_MOVES]
        moves = (self._directions / self._stress).reshape(-1, len(weights), 2)
        self.moves = np.ascontiguousarray(moves.transpose(1, 0, 2), np.float32)
        """(n, num_moves, 2) pixels."""

    def coeffs(self, moved: Floats) -> Floats:
        """(num_moves,) of (n, 2) pixels."""
        return np.asarray(self._directions @ (moved.ravel() * self._stress), np.float32)
