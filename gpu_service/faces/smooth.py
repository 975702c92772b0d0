"""Takes a detector's jitter out of a face's places in a video."""

from collections.abc import Iterator, MutableSequence, Sequence, Set
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from gpu_service.data import Detection, Edges, Face, Shifts
from gpu_service.faces.detect import bounding_box

SMOOTH_REACH = 2
"""Frames before and after a frame over which the face's place is averaged."""
LEAP = 0.3
"""Change of place from frame to frame, in widths of the face, across which nothing is averaged: it
is another face, or moves so fast that nobody sees it tremble."""


def smooth_faces(
    faces: MutableSequence[Face | None], cuts: Set[int], width: int, height: int
) -> list[Shifts | None]:
    """Take the jitter out of faces: each becomes the mean of five of which it is the middle one.

    In place: ten minutes of landmarks take 0.1 GB, and need not be there twice.

    Frames before a cut or a leap, or beyond a gap, don't count. Near them the mean is over three
    frames or one, so that it stays centred and a face that moves evenly is not held back.

    Args:
        faces: The face in each frame.
        cuts: Frames that begin a scene.
        width: Of the frames, in pixels.
        height: Likewise.

    Returns:
        How far each face's landmarks were moved; None where there is no face.
    """
    moved: list[Shifts | None] = [None] * len(faces)
    for run in _runs([None if face is None else face.box for face in faces], cuts):
        found = (face for face in islice(faces, run.start, run.stop) if face is not None)
        means = _centred_means((face.landmarks for face in found), len(run))
        for index, mean in zip(run, means, strict=True):
            face = faces[index]
            if face is not None:
                moved[index] = (mean - face.landmarks).astype(np.float16)
                faces[index] = Face(bounding_box(mean, width, height), mean, face.spread)
    return moved


def smooth_detections(
    detections: Sequence[Detection | None], cuts: Set[int]
) -> tuple[Detection | None, ...]:
    """Detections, averaged like `smooth_faces`; their scores stay."""
    steady = list(detections)
    for run in _runs([None if each is None else each[:4] for each in detections], cuts):
        found = [each for each in detections[run.start : run.stop] if each is not None]
        places = (np.array(each[:4], np.float32) for each in found)
        means = _centred_means(places, len(run))
        for index, detection, mean in zip(run, found, means, strict=True):
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


def _centred_means(
    places: Iterator[NDArray[np.float32]], count: int
) -> Iterator[NDArray[np.float32]]:
    """Each place's mean with as many before it as after it; few are held at a time."""
    held = list(islice(places, SMOOTH_REACH))
    for index in range(count):
        held.extend(islice(places, 1))
        reach = min(SMOOTH_REACH, index, count - 1 - index)
        middle = min(SMOOTH_REACH, index)
        window = np.stack(held[middle - reach : middle + reach + 1])
        yield np.asarray(window.mean(axis=0), np.float32)
        if index >= SMOOTH_REACH:
            del held[0]
