"""The face's box, and what the network sees of it."""

import numpy as np
import pytest

from gpu_service.data import Box
from gpu_service.engines.wav2lip.preprocess import (
    crop_face,
    face_box,
    network_faces,
    parse_pads,
)
from gpu_service.faces.detect import find_face
from tests.media import portrait


def test_the_box_runs_from_the_hairline_to_the_chin_and_from_cheek_to_cheek() -> None:
    landmarks = find_face(portrait()).landmarks
    box = face_box(landmarks, (0, 0, 0, 0), 512, 512)
    assert box.y1 == pytest.approx(landmarks[10, 1], abs=1)
    assert box.y2 == pytest.approx(landmarks[152, 1], abs=2)
    assert box.width == pytest.approx(landmarks[454, 0] - landmarks[234, 0], rel=0.05)
    mouth = (landmarks[13, 1] - box.y1) / box.height
    assert 0.6 < mouth < 0.8, "the mouth belongs into the half that is drawn anew"


def test_pads_move_the_edges_and_stop_at_the_frame() -> None:
    landmarks = find_face(portrait()).landmarks
    plain = face_box(landmarks, (0, 0, 0, 0), 512, 512)
    padded = face_box(landmarks, (1, 10, 2, -3), 512, 512)
    assert padded == Box(plain.x1 - 2, plain.y1 - 1, plain.x2 - 3, plain.y2 + 10)
    assert face_box(landmarks, (900, 900, 900, 900), 512, 512) == Box(0, 0, 512, 512)
    assert min(face_box(landmarks, (-900,) * 4, 512, 512)[2:]) > 0


def test_pads_count_in_pixels_of_the_upload() -> None:
    assert parse_pads("0,10,-4,2", 0.5) == (0, 5, -2, 1)


def test_the_network_sees_the_face_with_its_lower_half_hidden_and_whole() -> None:
    crop = crop_face(portrait(), Box(100, 50, 300, 290))
    assert crop.shape == (96, 96, 3)
    faces = network_faces([crop, crop[:, ::-1]])
    assert faces.shape == (2, 6, 96, 96)
    assert faces.dtype == np.float32
    np.testing.assert_allclose(faces[0, 3:].transpose(1, 2, 0) * 255, crop, atol=1e-4)
    np.testing.assert_array_equal(faces[:, :3, :48], faces[:, 3:, :48])
    assert not faces[:, :3, 48:].any()
