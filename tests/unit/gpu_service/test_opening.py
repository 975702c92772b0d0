import numpy as np
import pytest

from gpu_service.data import Landmarks
from gpu_service.faces.detect import find_face
from gpu_service.faces.opening import mouth_opening
from tests.media import portrait, scaled, turned


@pytest.fixture(scope="module")
def landmarks() -> Landmarks:
    return find_face(portrait()).landmarks


def rotated(landmarks: Landmarks, axis: int, degrees: float) -> Landmarks:
    """The head turned about one of its axes."""
    sin, cos = np.sin(np.radians(degrees)), np.cos(np.radians(degrees))
    turn = np.eye(3)
    one, other = (axis + 1) % 3, (axis + 2) % 3
    turn[[one, other], [one, other]] = cos
    turn[one, other], turn[other, one] = -sin, sin
    return ((landmarks - landmarks.mean(axis=0)) @ turn.T).astype(np.float32)


def test_lips_that_part_open_the_mouth(landmarks: Landmarks) -> None:
    wider = landmarks.copy()
    wider[[14, 87, 317], 1] += 10
    eyes = float(np.linalg.norm(landmarks[33] - landmarks[263]))
    assert mouth_opening(wider) - mouth_opening(landmarks) == pytest.approx(10 / eyes, rel=0.1)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_neither_a_turn_nor_the_distance_of_the_face_changes_the_opening(
    landmarks: Landmarks, axis: int
) -> None:
    seen = 0.4 * rotated(landmarks, axis, 35) + 100
    assert mouth_opening(seen) == pytest.approx(mouth_opening(landmarks), rel=1e-3)


def test_a_tilted_or_larger_picture_shows_the_same_opening(landmarks: Landmarks) -> None:
    for picture in (turned(portrait(), 20), scaled(portrait(), 1.5)):
        opening = mouth_opening(find_face(picture).landmarks)
        assert opening == pytest.approx(mouth_opening(landmarks), abs=0.01)


def test_what_the_jaw_carries_does_not_change_the_scale(landmarks: Landmarks) -> None:
    wider = landmarks.copy()
    wider[[152, 148, 377, 61, 291, 17, 0]] += 15
    assert mouth_opening(wider) == mouth_opening(landmarks)
