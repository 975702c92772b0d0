"""Reading a picture between its pixels."""

import cv2
import numpy as np
import pytest

from gpu_service.data import Box, Image
from gpu_service.engines.facewarp.warp.fine_picture import FinePicture
from tests.media import portrait


def shifted(image: Image, x: float, y: float) -> Image:
    """The picture of what lies so far to the right and below."""
    height, width = image.shape[:2]
    fine = FinePicture(image)
    offsets = np.broadcast_to(np.array((x, y), np.float32), (height, width, 2))
    return fine.pull(fine.places(Box(0, 0, width, height)), np.ascontiguousarray(offsets))


def test_what_does_not_move_stays_as_it_is() -> None:
    np.testing.assert_array_equal(shifted(portrait(), 0, 0), portrait())


def test_whole_pixels_move_without_loss() -> None:
    moved = shifted(portrait(), 3, -2)
    np.testing.assert_array_equal(moved[2:, :-3], portrait()[:-2, 3:])


@pytest.mark.parametrize("shift", [(0.5, 0.0), (0.33, 0.33), (0.17, 0.4), (0.0, 0.75)])
def test_skin_keeps_its_fine_detail_between_pixels(shift: tuple[float, float]) -> None:
    face = portrait()[60:220, 150:300]

    def detail(image: Image) -> float:
        grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
        return float(cv2.Laplacian(grey, cv2.CV_32F)[5:-5, 5:-5].var())

    assert 0.85 < detail(shifted(face, *shift)) / detail(face) < 1.15


def test_colours_are_those_of_the_place_between_the_pixels() -> None:
    ramp = np.repeat(np.linspace(20, 220, 101)[None, :, None], 40, axis=0)
    image = np.repeat(np.rint(ramp), 3, axis=2).astype(np.uint8)
    moved = shifted(image, 0.5, 0.25)[5:-5, 8:-8].astype(float)
    assert np.abs(moved - (image[5:-5, 8:-8] + 1.0)).max() <= 1


def test_a_part_of_a_picture_is_read_by_the_whole_ones_places() -> None:
    whole, part = FinePicture(portrait()), FinePicture(portrait()[40:140, 100:220], (100, 40))
    inside = Box(110, 50, 210, 130)
    offsets = np.full((inside.height, inside.width, 2), 0.4, np.float32)
    np.testing.assert_array_equal(
        part.pull(part.places(inside), offsets), whole.pull(whole.places(inside), offsets)
    )


def test_beyond_the_border_its_own_pixels_go_on() -> None:
    moved = shifted(portrait(), -400, 0)
    border = moved[:, :300].astype(int)
    np.testing.assert_array_equal(border, np.repeat(border[:, :1], 300, axis=1))
    assert np.abs(border[:, 0] - portrait()[:, 0]).mean() < 4
