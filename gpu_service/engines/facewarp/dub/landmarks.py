"""The landmarks of a video's face in time with its frames, and what they say of its mouth."""

from collections.abc import Sequence
from typing import Final, overload

import numpy as np

from gpu_service.data import FaceTrack, Landmarks
from gpu_service.engines.facewarp.warp.geometry import LEFT_EAR, RIGHT_EAR, head_frame

_NOISE: Final = 0.005
"""How far landmarks jitter, in face widths; what moves further moves."""
HALF_MOUTH: Final = 0.185
"""Half a mouth at rest, in face widths."""
_RESTING: Final = 0.06
"""Lips that are no further apart than this, in half mouths at rest, are shut."""


class SeenLandmarks(Sequence[Landmarks | None]):
    """The landmarks of every source frame: steady where they rest, prompt where they move.

    A mean over five frames, which is what a track has, shows lips that part two frames too early
    and half as far: their teeth would be taken for lip.

    Args:
        track: Of the video.
    """

    def __init__(self, track: FaceTrack) -> None:
        self._track = track

    def __len__(self) -> int:
        return len(self._track.faces)

    @overload
    def __getitem__(self, index: int) -> Landmarks | None: ...
    @overload
    def __getitem__(self, index: slice) -> list[Landmarks | None]: ...
    def __getitem__(self, index: int | slice) -> Landmarks | list[Landmarks | None] | None:
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(len(self)))]
        face = self._track.faces[index]
        if face is None:
            return None
        shifts = self._track.steadied[index] if self._track.steadied else None
        if shifts is None:
            return face.landmarks
        shifts = shifts.astype(np.float32)
        ears = face.landmarks[[LEFT_EAR, RIGHT_EAR]]
        noise = _NOISE * float(np.linalg.norm(ears[1] - ears[0]))
        # Smooth in how far they were moved, so that nothing jumps where it begins to move.
        strength = np.square(shifts[:, :2]).sum(axis=1, keepdims=True)
        return np.asarray(face.landmarks - shifts * (strength / (strength + noise**2)), np.float32)


def lip_gap(landmarks: Landmarks) -> float:
    """How far the inner lips are apart in the middle, in half mouths at rest."""
    apart = np.linalg.norm(landmarks[[13, 82, 312]] - landmarks[[14, 87, 317]], axis=1).mean()
    return float(apart / (HALF_MOUTH * head_frame(landmarks).face_width))


def choose_reference(seen: Sequence[Landmarks | None]) -> int:
    """The frame in which the mouth rests, in a pose that is usual in the video, and large.

    Args:
        seen: The landmarks in every source frame; one frame at least shows a face.
    """
    indexes, told = [], []
    for index, landmarks in enumerate(seen):
        if landmarks is not None:
            head = head_frame(landmarks)
            width = head.half_mouth / head.face_width
            indexes.append(index)
            told.append((lip_gap(landmarks), width, head.face_width, *head.axes[:2, 2]))
    gaps, widths, sizes, *depths = np.array(told).T
    resting = gaps <= max(float(np.percentile(gaps, 20)), _RESTING)
    turn = np.stack(depths) - np.median(depths, axis=1, keepdims=True)
    unusual = np.linalg.norm(turn, axis=0) + 3 * np.abs(widths - np.median(widths[resting]))
    cost = gaps + unusual + 0.5 * (1 - sizes / sizes.max())
    return indexes[int(np.where(resting, cost, np.inf).argmin())]
