"""The face mesh behind its small interface."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from gpu_service.faces.landmarks import face_mesh
from tests.media import portrait


def test_landmarks_come_in_pixels_where_the_face_is() -> None:
    (landmarks,) = face_mesh(0.5).find(portrait())
    assert landmarks.shape == (478, 3)
    assert landmarks.dtype == np.float32
    left_eye, right_eye, chin = landmarks[33], landmarks[263], landmarks[152]
    assert 180 < left_eye[0] < right_eye[0] < 280
    assert left_eye[1] < chin[1] < 220


def test_depth_comes_in_pixels_and_the_nose_is_nearer_than_the_ears() -> None:
    (landmarks,) = face_mesh(0.5).find(portrait())
    depth = landmarks[[234, 454], 2].mean() - landmarks[1, 2]
    assert 20 < depth < 92


def test_a_picture_without_a_face_gives_none() -> None:
    assert face_mesh(0.5).find(np.full((200, 300, 3), 90, np.uint8)) == []


def test_threads_that_share_a_mesh_get_their_own_answers() -> None:
    frame = portrait()
    alone = face_mesh(0.5).find(frame)[0]
    mirrored = face_mesh(0.5).find(np.ascontiguousarray(frame[:, ::-1]))[0]
    pictures = [frame, np.ascontiguousarray(frame[:, ::-1])] * 4
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda picture: face_mesh(0.5).find(picture)[0], pictures))
    for landmarks, expected in zip(found, [alone, mirrored] * 4, strict=True):
        np.testing.assert_allclose(landmarks, expected, atol=0.01)
