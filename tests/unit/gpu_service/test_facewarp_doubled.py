"""Sampling a picture between its pixels."""

import cv2
import numpy as np
import pytest

from gpu_service.data import Image
from gpu_service.engines.facewarp.doubled import NO_MAP, doubled
from tests.media import portrait


def shifted(image: Image, x: float, y: float) -> Image:
    """The picture (x, y) pixels further right and down in it."""
    height, width = image.shape[:2]
    at = np.stack(np.meshgrid(np.arange(width) + x, np.arange(height) + y), axis=-1)
    return cv2.remap(
        doubled(image), (2 * at).astype(np.float32), NO_MAP, cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )  # fmt: skip


def test_the_sources_own_pixels_are_kept_bit_by_bit() -> None:
    image = portrait()
    assert doubled(image).shape == (1024, 1024, 3)
    np.testing.assert_array_equal(doubled(image)[::2, ::2], image)
    np.testing.assert_array_equal(shifted(image, 0, 0), image)
    np.testing.assert_array_equal(shifted(image, 3, 0)[:, :-3], image[:, 3:])


def test_a_plain_picture_stays_plain() -> None:
    plain = np.full((9, 11, 3), (10, 128, 255), np.uint8)
    assert (doubled(plain) == (10, 128, 255)).all()


@pytest.mark.parametrize("phase", [0.125, 0.25, 0.375, 0.5])
def test_it_is_nearer_to_ideal_interpolation_than_the_cubic_kernel(phase: float) -> None:
    image = portrait()
    height, width = image.shape[:2]
    turn = phase * (np.fft.fftfreq(height)[:, None] + np.fft.fftfreq(width))
    spectrum = np.fft.fft2(image.astype(float), axes=(0, 1))
    ideal = np.fft.ifft2(spectrum * np.exp(2j * np.pi * turn)[..., None], axes=(0, 1)).real
    at = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1) + phase
    cubic = cv2.remap(image, at.astype(np.float32), NO_MAP, cv2.INTER_CUBIC)
    inner = slice(60, 200), slice(150, 300)

    def error(picture: Image) -> float:
        return float(np.abs(picture[inner] - ideal[inner]).mean())

    assert error(shifted(image, phase, phase)) < error(cubic)
