"""Frames in the colours of video: BT.709, with half as many colour samples each way."""

from typing import Final

import numpy as np
from av.video.frame import VideoFrame
from av.video.plane import VideoPlane
from av.video.reformatter import (
    ColorPrimaries,
    ColorRange,
    Colorspace,
    ColorTrc,
    Interpolation,
    VideoReformatter,
)
from numpy.typing import NDArray

from gpu_service.data import Box, Frame, Image

# Without accurate rounding, swscale darkens each picture by half a level and more. These flags come
# to the exact mean of each four pixels' colours, rounded, and are the fastest that do.
EXACT: Final = Interpolation.AREA | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INP

ALIGNMENT: Final = 16
"""Boxes are converted up to multiples of so many pixels: swscale rounds colours differently where a
picture is only two pixels high."""


class YuvConverter:
    """Converts frames of one video, and of frames that differ in a box only that box."""

    def __init__(self) -> None:
        # Kept: each frame's own would be set up anew for each frame.
        self._of_frames = VideoReformatter()
        self._of_boxes = VideoReformatter()
        self._converted: VideoFrame | None = None
        self._planes: list[NDArray[np.uint8]] = []

    def convert(self, pixels: Frame, changed: Box | None) -> VideoFrame:
        """The frame in yuv420p, the same bits whatever is known to have changed.

        Args:
            pixels: Of one size throughout, which is even.
            changed: Outside of it, the pixels are those of the call before; None where all may
                differ.

        Returns:
            A picture that holds until the next call, which may write into it.
        """
        height, width = pixels.shape[:2]
        box = _aligned(changed, width, height) if changed else Box(0, 0, width, height)
        if self._converted is None or box == (0, 0, width, height):
            self._converted = _reformat(self._of_frames, pixels)
            self._planes = []
        elif box.width and box.height:
            self._planes = self._planes or [_array(plane) for plane in self._converted.planes]
            self._convert_box(pixels, box)
        return self._converted

    def _convert_box(self, pixels: Frame, box: Box) -> None:
        part = _reformat(self._of_boxes, pixels[box.y1 : box.y2, box.x1 : box.x2])
        for whole, plane, step in zip(self._planes, part.planes, (1, 2, 2), strict=True):
            rows = slice(box.y1 // step, box.y2 // step)
            columns = slice(box.x1 // step, box.x2 // step)
            whole[rows, columns] = _array(plane)


def _reformat(reformatter: VideoReformatter, pixels: Image) -> VideoFrame:
    return reformatter.reformat(
        VideoFrame.from_numpy_buffer(pixels, format="bgr24"),
        format="yuv420p",
        dst_colorspace=Colorspace.ITU709,
        dst_color_range=ColorRange.MPEG,
        dst_color_primaries=ColorPrimaries.BT709,
        dst_color_trc=ColorTrc.BT709,
        interpolation=EXACT,
    )


def _array(plane: VideoPlane) -> NDArray[np.uint8]:
    """(height, width) that shares the plane's memory."""
    rows: NDArray[np.uint8] = np.frombuffer(memoryview(plane), np.uint8)
    return rows.reshape(-1, plane.line_size)[: plane.height, : plane.width]


def _aligned(box: Box, width: int, height: int) -> Box:
    """The box of whole blocks around it, which end with the frame and are as large as it allows."""
    if not (box.width and box.height):
        return box
    x1, x2 = _blocks(box.x1, box.x2, width)
    y1, y2 = _blocks(box.y1, box.y2, height)
    return Box(x1, y1, x2, y2)


def _blocks(start: int, end: int, size: int) -> tuple[int, int]:
    end = min(-(-end // ALIGNMENT) * ALIGNMENT, size)
    # The frame's last block may be only two pixels, so that the one before it is taken along.
    start = min(start // ALIGNMENT * ALIGNMENT, max(end - ALIGNMENT, 0) // 2 * 2)
    return start, end
