"""The colours of video: near the exact ones, and the same however little is converted."""

import numpy as np
import pytest
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from gpu_service.data import Box, Frame
from gpu_service.media.yuv import YuvConverter
from tests.media import picture


def planes(frame: VideoFrame) -> list[NDArray[np.uint8]]:
    """Copies of brightness and both colours."""
    found = []
    for plane in frame.planes:
        rows: NDArray[np.uint8] = np.frombuffer(memoryview(plane), np.uint8)
        found.append(rows.reshape(-1, plane.line_size)[: plane.height, : plane.width].copy())
    return found


def converted(pixels: Frame) -> list[NDArray[np.uint8]]:
    return planes(YuvConverter().convert(pixels, None))


def test_colours_are_the_exact_ones_rounded() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    blue, green, red = np.moveaxis(pixels / 255, 2, 0)
    # ITU-R BT.709-6, items 3.2 to 3.4.
    luma = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    sides = [(blue - luma) / 1.8556, (red - luma) / 1.5748]
    means = [side.reshape(24, 2, 32, 2).mean(axis=(1, 3)) for side in sides]
    exact = [16 + 219 * luma, *(128 + 224 * mean for mean in means)]
    for plane, expected in zip(converted(pixels), exact, strict=True):
        assert np.abs(plane - expected).max() < 0.55
        assert abs((plane - expected).mean()) < 0.03


@pytest.mark.parametrize(("width", "height"), [(64, 48), (162, 98), (34, 18), (16, 2), (2, 16)])
def test_a_changed_box_comes_to_the_same_bits_as_the_whole_frame(width: int, height: int) -> None:
    chance = np.random.default_rng(width)
    pixels = chance.integers(0, 256, (height, width, 3), np.uint8)
    converter = YuvConverter()
    converter.convert(pixels, None)
    for _ in range(150):
        x1, x2 = sorted(int(edge) for edge in chance.choice(width + 1, 2, replace=False))
        y1, y2 = sorted(int(edge) for edge in chance.choice(height + 1, 2, replace=False))
        pixels[y1:y2, x1:x2] = chance.integers(0, 256, (y2 - y1, x2 - x1, 3), np.uint8)
        found = planes(converter.convert(pixels, Box(x1, y1, x2, y2)))
        assert all(map(np.array_equal, found, converted(pixels)))


def test_a_single_pixel_in_the_last_rows_and_columns_reaches_its_colours() -> None:
    pixels = np.ascontiguousarray(np.asarray(picture(66, 50))[..., ::-1])
    converter = YuvConverter()
    converter.convert(pixels, None)
    for x, y in ((65, 49), (64, 48), (63, 47), (0, 0), (65, 0), (0, 49)):
        pixels[y, x] = 255 - pixels[y, x]
        found = planes(converter.convert(pixels, Box(x, y, x + 1, y + 1)))
        assert all(map(np.array_equal, found, converted(pixels)))


def test_only_what_changed_is_looked_at() -> None:
    dark, bright = np.zeros((64, 64, 3), np.uint8), np.full((64, 64, 3), 255, np.uint8)
    converter = YuvConverter()
    converter.convert(dark, None)
    luma = planes(converter.convert(bright, Box(17, 18, 30, 31)))[0]
    assert (luma[16:32, 16:32] == 235).all()
    assert (luma == 235).sum() == 16 * 16
    assert (planes(converter.convert(bright, Box(0, 0, 0, 0)))[0] == luma).all()
    assert (planes(converter.convert(bright, None))[0] == 235).all()


def test_the_first_frame_is_converted_whole_whatever_is_said_of_it() -> None:
    pixels = np.full((32, 32, 3), 200, np.uint8)
    found = planes(YuvConverter().convert(pixels, Box(0, 0, 2, 2)))
    assert all(map(np.array_equal, found, converted(pixels)))
