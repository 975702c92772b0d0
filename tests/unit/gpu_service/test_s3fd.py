import numpy as np
import pytest
from numpy.typing import NDArray

from gpu_service.faces import s3fd


def heads(*shown: tuple[int, int, int, int, float]) -> list[NDArray[np.float32]]:
    """What the network says of two pictures of 128 x 128 pixels that show faces in these cells.

    Each is an image, a level, a row, a column, and how sure the network is.
    """
    made = []
    for size in (32, 16, 8, 8, 4, 2):
        scores = np.zeros((2, 2, size, size), np.float32)
        scores[:, 0] = 9.0
        made += [scores, np.zeros((2, 4, size, size), np.float32)]
    for image, level, row, column, sureness in shown:
        made[2 * level][image, 1, row, column] = 9.0 + sureness
    return made


def test_a_large_frame_is_searched_small_and_its_boxes_are_of_the_frame() -> None:
    searched: list[tuple[int, ...]] = []

    def network(pictures: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        searched.append(pictures.shape)
        return [head[1:] for head in heads((1, 2, 3, 5, 4.0))]

    frame = np.zeros((256, 512, 3), np.uint8)
    (face,) = s3fd.S3fdDetector(network, 128).find(frame)
    np.testing.assert_allclose(face[:4], np.array([56, 24, 120, 88]) * 4)
    assert face.score == pytest.approx(1 / (1 + np.exp(-4)))
    (face,) = s3fd.S3fdDetector(network).find(frame)
    np.testing.assert_allclose(face[:4], [56, 24, 120, 88])
    assert searched == [(1, 3, 64, 128), (1, 3, 256, 512)]


def test_a_picture_without_a_face_has_no_boxes() -> None:
    assert [boxes.shape for boxes in s3fd.find_boxes(heads())] == [(0, 5), (0, 5)]


def test_a_face_fills_the_anchor_of_its_cell() -> None:
    first, second = s3fd.find_boxes(heads((1, 2, 3, 5, 4.0)))
    assert len(first) == 0
    # Cells of level 2 are 16 pixels wide, their anchors 64 about the cell's centre.
    np.testing.assert_allclose(second, [[88 - 32, 56 - 32, 88 + 32, 56 + 32, 1 / (1 + np.exp(-4))]])


def test_of_two_boxes_on_one_face_the_surer_is_kept_and_unsure_ones_are_not_faces() -> None:
    boxes, _ = s3fd.find_boxes(
        heads((0, 2, 3, 3, 2.0), (0, 2, 3, 4, 5.0), (0, 0, 30, 30, 1.0), (0, 0, 2, 2, -1.0))
    )
    np.testing.assert_allclose(boxes[:, 0], [72 - 32, 122 - 8])


def test_the_network_sees_rgb_less_the_published_mean() -> None:
    frames = np.zeros((1, 2, 3, 3), np.uint8)
    frames[..., 2] = 200
    pixels = s3fd.network_input(frames)
    assert pixels.shape == (1, 3, 2, 3)
    assert pixels[0, :, 0, 0].tolist() == [96.0, -117.0, -123.0]
