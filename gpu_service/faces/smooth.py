"""Takes a detector's jitter out of a face's places in a video."""

from collections.abc import Iterator, Sequence, Set

import numpy as np
from numpy.typing import NDArray

from gpu_service.data import Detection, Edges, Face
from gpu_service.faces.detect import bounding_box

SMOOTH_REACH = 2
"""Frames before and after a frame over which the face's place is averaged."""
LEAP = 0.3
"""Change of place from frame to frame, in widths of the face, across which nothing is averaged: it
is another face, or moves so fast that nobody sees it tremble."""


def smooth_faces(
    faces: Sequence[Face | None], cuts: Set[int], width: int, height: int
) -> tuple[Face | None, ...]:
    """The faces without the detector's jitter: each the mean of five frames, itself in the middle.

    Frames before a cut or a leap, or beyond a gap, don't count. Near them the mean is over three
    frames or one, so that it stays centred and a face that moves evenly is not held back.

    Args:
        faces: The face in each frame.
        cuts: Frames that begin a scene.
        width: Of the frames, in pixels.
        height: Likewise.
    """
    steady = list(faces)
    for run in _runs([None if face is None else face.box for face in faces], cuts):
        found = [face for face in faces[run.start : run.stop] if face is not None]
        places = _centred_means([face.landmarks for face in found])
        for index, face, mean in zip(run, found, places, strict=True):
            steady[index] = Face(bounding_box(mean, width, height), mean, face.spread)
    return tuple(steady)


def smooth_detections(
    detections: Sequence[Detection | None], cuts: Set[int]
) -> tuple[Detection | None, ...]:
    """Detections, averaged like `smooth_faces`; their scores stay."""
    steady = list(detections)
    for run in _runs([None if each is None else each[:4] for each in detections], cuts):
        found = [each for each in detections[run.start : run.stop] if each is not None]
        places = _centred_means([np.array(each[:4], np.float32) for each in found])
        for index, detection, mean in zip(run, found, places, strict=True):
            x1, y1, x2, y2 = mean.tolist()
            steady[index] = Detection(x1, y1, x2, y2, detection.score)
    return tuple(steady)


def _runs(places: Sequence[Edges | None], cuts: Set[int]) -> Iterator[range]:
    """Frames in a row, all of one scene, in each of which a face is near its place before."""
    start, last = 0, None
    for index, place in enumerate([*places, None]):
        begins = index in cuts or place is None or (last is not None and _leapt(last, place))
        if begins and last is not None:
            yield range(start, index)
        if begins or last is None:
            start = index
        last = place


def _leapt(one: Edges, other: Edges) -> bool:
    across = abs(other[0] + other[2] - one[0] - one[2]) / 2
    down = abs(other[1] + other[3] - one[1] - one[3]) / 2
    return max(across, down) > LEAP * (one[2] - one[0])


def _centred_means(places: Sequence[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
    """Each place's mean with as many before it as after it."""
    for index in range(len(places)):
        reach = min(SMOOTH_REACH, index, len(places) - 1 - index)
        window = np.stack(places[index - reach : index + reach + 1])
        yield np.asarray(window.mean(axis=0), np.float32)
