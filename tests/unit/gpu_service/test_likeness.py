"""Whether a face looks like the one that was followed."""

import cv2
import numpy as np
import pytest

from gpu_service.data import Frame
from gpu_service.faces.detect import find_face
from gpu_service.faces.likeness import Likeness
from tests.media import portrait, scaled, turned

STRANGER = np.ascontiguousarray(portrait()[:, ::-1, ::-1])


def remembering(frame: Frame) -> Likeness:
    likeness = Likeness()
    likeness.remember(frame, find_face(frame).landmarks)
    return likeness


@pytest.mark.parametrize(
    "frame",
    [
        turned(portrait(), 30),
        scaled(portrait(), 2.0),
        (portrait() * 0.4).astype(np.uint8),
        np.asarray(cv2.GaussianBlur(portrait(), (0, 0), 3), np.uint8),
    ],
    ids=["tilted", "near", "dark", "blurred"],
)
def test_a_face_is_known_again(frame: Frame) -> None:
    assert remembering(portrait()).known(frame, find_face(frame).landmarks)


def test_a_stranger_is_not_known_until_the_face_is_forgotten() -> None:
    likeness, landmarks = remembering(portrait()), find_face(STRANGER).landmarks
    for _ in range(50):
        likeness.remember(STRANGER, landmarks)
    assert not likeness.known(STRANGER, landmarks)
    likeness.forget()
    assert likeness.known(STRANGER, landmarks)


def test_a_face_whose_light_changes_slowly_stays_known() -> None:
    landmarks = find_face(portrait()).landmarks
    across = np.arange(512)[np.newaxis, :, np.newaxis]
    lights = [1 - 0.9 * share * (across < 225) for share in np.linspace(0, 1, 60)]
    frames = [(portrait() * light).astype(np.uint8) for light in lights]
    likeness = remembering(portrait())
    assert not likeness.known(frames[-1], landmarks)
    for frame in frames:
        assert likeness.known(frame, landmarks)
        likeness.remember(frame, landmarks)
