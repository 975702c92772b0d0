"""Takes a detector's jitter out of a face's places in a video."""

from collections.abc import Iterator, Sequence, Set

import numpy as np
from numpy.typing import NDArray

from gpu_service.data import Detection, Face
from gpu_service.faces.detect import bounding_box

SMOOTH_REACH = 2
"""Frames before and after a frame over which the face's place is averaged."""


def smooth_faces(
    faces: Sequence[Face | None], cuts: Set[int], width: int, height: int
) -> tuple[Face | None, ...]:
    """The faces without the detector's jitter: each the mean of five frames, itself in the middle.

    Frames before a cut or beyond a gap don't count. Near them the mean is over three frames or
    one, so that it stays centred and a face that moves evenly is not held back.

    Args:
        faces: The face in each frame.
        cuts: Frames that begin a scene.
        width: Of the frames, in pixels.
        height: Likewise.
    """
    steady = list(faces)
    for run in _runs(faces, cuts):
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
    for run in _runs(detections, cuts):
        found = [each for each in detections[run.start : run.stop] if each is not None]
        places = _centred_means([np.array(each[:4], np.float32) for each in found])
        for index, detection, mean in zip(run, found, places, strict=True):
            x1, y1, x2, y2 = mean.tolist()
            steady[index] = Detection(x1, y1, x2, y2, detection.score)
    return tuple(steady)


def _runs(found: Sequence[object | None], cuts: Set[int]) -> Iterator[range]:
    """Frames in a row, all of one scene, in each of which something was found."""
    start = 0
    for index in range(len(found) + 1):
        if index == len(found) or found[index] is None:
            if start < index:
                yield range(start, index)
            start = index + 1
        elif index in cuts and start < index:
            yield range(start, index)
            start = index


def _centred_means(places: Sequence[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
    """Each place's mean with as many before it as after it."""
    for index in range(len(places)):
        reach = min(SMOOTH_REACH, index, len(places) - 1 - index)
        window = np.stack(places[index - reach : index + reach + 1])
        yield np.asarray(window.mean(axis=0), np.float32)
