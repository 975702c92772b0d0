"""Films in which somebody moves and speaks, made by code."""

from collections.abc import Sequence
from functools import cache

import cv2
import numpy as np

from gpu_service.data import Face, Frame, Landmarks
from gpu_service.engines.facewarp.portrait import build_portrait
from gpu_service.engines.facewarp.renderer import Renderer
from gpu_service.engines.facewarp.shape import MouthShape
from gpu_service.faces.detect import find_face, refine
from tests.media import portrait, scaled


@cache
def _speaker() -> tuple[Frame, Renderer]:
    """The sample's face, 184 pixels from ear to ear."""
    frame = np.ascontiguousarray(scaled(portrait(), 2.0)[:440, 240:680])
    return frame, Renderer(build_portrait(frame, find_face(frame)))


def speaking(openings: Sequence[float]) -> list[Frame]:
    """The sample with its mouth open so far."""
    frame, renderer = _speaker()
    box, frames = renderer.box, []
    for opening in openings:
        drawn = frame.copy()
        shape = MouthShape(opening, 0.0, 0.0, 0.0, 0.0)
        drawn[box.y1 : box.y2, box.x1 : box.x2] = renderer.render(shape)
        frames.append(drawn)
    return frames


def moves(count: int) -> list[np.ndarray[tuple[int, ...], np.dtype[np.float64]]]:
    """(2, 3) of each frame: a head that nods, tilts and comes nearer."""
    found = []
    for index in range(count):
        angle = 2 * np.pi * index / 24
        move = cv2.getRotationMatrix2D((220, 220), 5 * np.sin(angle), 1 + 0.05 * np.cos(angle))
        move[:, 2] += (6 * np.cos(angle), 8 * np.sin(angle))
        found.append(np.asarray(move, np.float64))
    return found


def moved(frames: Sequence[Frame]) -> list[Frame]:
    """The frames as a moving head shows them."""
    return [
        np.asarray(
            cv2.warpAffine(
                frame, move, frame.shape[1::-1], flags=cv2.INTER_CUBIC,
                borderMode=cv2.BORDER_REFLECT,
            ),
            np.uint8,
        )
        for frame, move in zip(frames, moves(len(frames)), strict=True)
    ]  # fmt: skip


def faces_of(frames: Sequence[Frame]) -> list[Face | None]:
    """Where the face is in each frame."""
    return [find_face(frame) for frame in frames]


def landmarks_of(faces: Sequence[Face | None]) -> list[Landmarks | None]:
    """Their landmarks."""
    return [None if face is None else face.landmarks for face in faces]


def face_again(frame: Frame, face: Face) -> Face:
    """The same face after something was drawn on it."""
    found = refine(frame, face.landmarks)
    assert found is not None
    return found
