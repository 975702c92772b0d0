"""What the network sees of a face."""

import numpy as np

from gpu_service.data import Box
from gpu_service.engines.wav2lip.preprocess import crop_face, network_faces
from tests.media import portrait


def test_the_network_sees_the_face_with_its_lower_half_hidden_and_whole() -> None:
    crop = crop_face(portrait(), Box(100, 50, 300, 290))
    assert crop.shape == (96, 96, 3)
    faces = network_faces(np.stack((crop, crop[:, ::-1])))
    assert faces.shape == (2, 6, 96, 96)
    assert faces.dtype == np.float32
    np.testing.assert_allclose(faces[0, 3:].transpose(1, 2, 0) * 255, crop, atol=1e-4)
    np.testing.assert_array_equal(faces[:, :3, :48], faces[:, 3:, :48])
    assert not faces[:, :3, 48:].any()
