"""Patches on frames."""

import numpy as np

from gpu_service.compose import compose
from gpu_service.data import Box, FacePatch

FRAME = np.random.default_rng(0).integers(0, 256, (12, 10, 3), np.uint8)
BOX = Box(2, 3, 6, 8)
PIXELS = np.random.default_rng(1).integers(0, 256, (5, 4, 3), np.uint8)


def test_a_patch_without_alpha_replaces_its_box_and_nothing_else() -> None:
    before = FRAME.copy()
    composed = compose(FRAME, FacePatch(0, BOX, PIXELS))
    assert np.array_equal(composed[3:8, 2:6], PIXELS)
    composed[3:8, 2:6] = before[3:8, 2:6]
    assert np.array_equal(composed, before)
    assert np.array_equal(FRAME, before)


def test_alpha_mixes_frame_and_patch() -> None:
    alpha = np.tile(np.array([0, 85, 170, 255], np.uint8), (5, 1))
    composed = compose(FRAME, FacePatch(0, BOX, PIXELS, alpha))[3:8, 2:6].astype(float)
    share = alpha[..., np.newaxis] / 255
    exact = PIXELS * share + FRAME[3:8, 2:6] * (1 - share)
    assert np.abs(composed - exact).max() <= 0.5 + 1e-9
    assert np.array_equal(composed[:, 0], FRAME[3:8, 2])
    assert np.array_equal(composed[:, 3], PIXELS[:, 3])


def test_white_on_white_stays_white_however_it_is_mixed() -> None:
    white = np.full((1, 256, 3), 255, np.uint8)
    alpha = np.arange(256, dtype=np.uint8)[np.newaxis]
    assert (compose(white, FacePatch(0, Box(0, 0, 256, 1), white, alpha)) == 255).all()
