"""What light falls on a face, and how fine its photo is."""

import cv2
import numpy as np
import pytest

from gpu_service.data import Frame
from gpu_service.engines.facewarp.lips.colours import MouthColours, mouth_colours, photo_texture
from gpu_service.faces.detect import find_face
from tests.media import portrait, scaled

WARM = np.array([0.4, 0.75, 1.0])
EYES = ((33, 160, 158, 133, 153, 144), (362, 385, 387, 263, 373, 380))


def colours(frame: Frame) -> MouthColours:
    points = find_face(frame).landmarks[:, :2]
    return mouth_colours(frame, points)


def test_teeth_take_the_colour_of_the_light() -> None:
    """In candle light, or a painting in browns, white teeth would glare."""
    points = find_face(portrait()).landmarks[:, :2]
    white = mouth_colours(portrait(), points).tooth
    assert np.ptp(white) < 0.2 * white.max()
    warm = mouth_colours((portrait() * WARM).astype(np.uint8), points).tooth
    blue, green, red = warm / warm.max()
    assert blue < green < red
    assert blue == pytest.approx(0.5, abs=0.1)


def test_teeth_in_a_dark_face_are_as_bright_as_its_eyes_allow() -> None:
    frame = scaled(portrait(), 2.0)
    points = find_face(frame).landmarks[:, :2]
    white = np.zeros(frame.shape[:2], np.uint8)
    for eye in EYES:
        cv2.fillConvexPoly(white, np.rint(points[list(eye)]).astype(np.int32), 1)
    dark = np.where(white[..., None] > 0, frame, frame * 0.4).astype(np.uint8)
    everything = (frame * 0.4).astype(np.uint8)
    assert mouth_colours(dark, points).tooth.mean() > (
        1.2 * mouth_colours(everything, points).tooth.mean()
    )


@pytest.mark.parametrize("beyond", [(0.0, -130.0), (-260.0, 0.0), (0.0, 600.0)])
def test_eyes_that_the_border_cuts_off_say_nothing(beyond: tuple[float, float]) -> None:
    """A picture of mouth and chin is a face to the detector at times."""
    frame = portrait()
    points = find_face(frame).landmarks[:, :2]
    eyes = sorted(index for eye in EYES for index in eye)
    away = points.copy()
    away[eyes] += np.array(beyond, np.float32)
    black = frame.copy()
    for eye in EYES:
        cv2.fillConvexPoly(black, np.rint(points[list(eye)]).astype(np.int32), (0, 0, 0))
    np.testing.assert_array_equal(
        mouth_colours(frame, away).tooth, mouth_colours(black, points).tooth
    )


def test_the_side_that_is_lit_is_told() -> None:
    light = np.linspace(1.3, 0.5, portrait().shape[1])[None, :, None]
    left = np.clip(portrait() * light, 0, 255).astype(np.uint8)
    assert colours(left).tilt < colours(portrait()).tilt - 0.05


@pytest.mark.parametrize("sigma", [1.0, 2.0])
def test_a_blurred_photo_is_known_as_one(sigma: float) -> None:
    frame = scaled(portrait(), 1.5)
    sharp = scaled(frame, 1 / 1.5)
    points = find_face(sharp).landmarks[:, :2]
    blurred = cv2.GaussianBlur(sharp, (0, 0), sigma).astype(np.uint8)
    assert photo_texture(sharp, points).blur < 0.8
    assert photo_texture(blurred, points).blur == pytest.approx(sigma, rel=0.5)


def test_grain_is_measured_in_grey_levels() -> None:
    points = find_face(portrait()).landmarks[:, :2]
    noise = np.random.default_rng(0).normal(0, 6, portrait().shape[:2])[..., None]
    grainy = np.clip(portrait() + noise, 0, 255).astype(np.uint8)
    before, after = photo_texture(portrait(), points).grain, photo_texture(grainy, points).grain
    assert np.hypot(6, before) == pytest.approx(after, rel=0.15)
