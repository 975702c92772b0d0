"""A moving face: the pictures of a video at an even rate, from any of its frames on."""

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import chain, islice, repeat
from operator import attrgetter
from typing import Final, Literal, NamedTuple

import av
import cv2
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter

from contracts.errors import ImageTooLarge, UndecodableMedia, UnsupportedMedia
from contracts.limits import MAX_IMAGE_PIXELS
from gpu_service.data import Frame, Image
from gpu_service.media.container import frames_of, has_video, open_media
from gpu_service.media.picture import output_size, resized

DEFAULT_VIDEO_RATE: Final = Fraction(25)
MIN_VIDEO_RATE: Final = Fraction(1)
MAX_VIDEO_RATE: Final = Fraction(60)

# Without accurate rounding, swscale darkens each conversion by about one level.
EXACT: Final = Interpolation.AREA | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT


class _Keyframe(NamedTuple):
    """A picture at which decoding can begin."""

    tick: int
    """The frame at which it is first shown."""
    pts: int
    start: float
    """Time of the video's first picture, from which ticks count."""


@dataclass(frozen=True)
class Video:
    """A moving face; its frames are decoded each time they are asked for."""

    data: bytes
    width: int
    height: int
    scale: float
    fps: Fraction | None
    kind: Literal["photo", "video"] = "video"
    _keyframes: list[_Keyframe] = field(default_factory=list, init=False, repr=False, compare=False)
    """Those that were met so far, in order. What they say is not worked out but remembered, so that
    decoding which begins at one goes on exactly as the decoding that met it did."""

    def frames(self, first: int = 0) -> Iterator[Frame]:
        """The picture at each tick of the rate from the first on, upright, at the output's size.

        A picture stays until the next one comes, however uneven their times are and also where
        damaged ones lie between.
        """
        before = bisect_right(self._keyframes, first, key=attrgetter("tick")) if first else 0
        since = self._keyframes[before - 1] if before else None
        with open_media(self.data) as container:
            stream = container.streams.video[0]
            pictures = _sought(container, since.pts) if since else frames_of(container, stream)
            if pictures is None:
                yield from islice(self.frames(), first, None)
                return
            reformatter = VideoReformatter()
            for picture, ticks in self._at_rate(pictures, since):
                wanted = ticks[max(0, first - ticks.start) :]
                if wanted:
                    pixels = resized(upright(picture, reformatter), self.width, self.height)
                    yield from repeat(pixels, len(wanted))

    def _at_rate(
        self, pictures: Iterator[VideoFrame], since: _Keyframe | None
    ) -> Iterator[tuple[VideoFrame, range]]:
        """Each picture and the ticks at which it is shown; without a time it lasts for one."""
        fps = self.fps or DEFAULT_VIDEO_RATE
        tick = since.tick if since else 0
        start: float | None = since.start if since else None
        last: VideoFrame | None = None
        for picture in pictures:
            if last is not None:
                begins = tick + 1
                if picture.time is not None and start is not None:
                    begins = round((picture.time - start) * fps)
                yield last, range(tick, begins)
                tick = max(tick, begins)
            elif since is None:
                start = picture.time
            last = picture
            self._note(picture, tick, start)
        if last is not None:
            yield last, range(tick, tick + 1)

    def _note(self, picture: VideoFrame, tick: int, start: float | None) -> None:
        known = self._keyframes[-1].tick if self._keyframes else -1
        if picture.key_frame and tick > known and picture.pts is not None and start is not None:
            self._keyframes.append(_Keyframe(tick, picture.pts, start))


def open_video(data: bytes, max_height: int) -> Video:
    """Open a video by its bytes; errors as those of `decode_face`."""
    with open_media(data) as container:
        if not has_video(container):
            raise UnsupportedMedia("the file that was sent as the face shows no picture")
        stream = container.streams.video[0]
        num_pixels = stream.codec_context.width * stream.codec_context.height
        if num_pixels > MAX_IMAGE_PIXELS:
            raise ImageTooLarge(f"the video's pictures have {num_pixels} pixels each")
        picture = next(frames_of(container, stream), None)
        if picture is None:
            raise UndecodableMedia("not one picture of the video can be decoded")
        first = upright(picture, VideoReformatter())
        rate = stream.average_rate or stream.guessed_rate or DEFAULT_VIDEO_RATE
    fps = min(max(Fraction(rate), MIN_VIDEO_RATE), MAX_VIDEO_RATE)
    width, height = output_size(first.shape[1], first.shape[0], max_height)
    return Video(data, width, height, width / first.shape[1], fps)


def _sought(container: InputContainer, pts: int) -> Iterator[VideoFrame] | None:
    """The pictures from a keyframe on; None where seeking does not lead to it."""
    # A program stream's pictures have other times after a seek than when read from the start.
    if container.format.name == "mpeg":
        return None
    stream = container.streams.video[0]
    try:
        container.seek(pts, stream=stream)
    except av.FFmpegError:
        return None
    pictures = frames_of(container, stream)
    for picture in pictures:
        if picture.pts == pts:
            return chain((picture,), pictures)
        if picture.pts is None or picture.pts > pts:
            break
    return None


def upright(picture: VideoFrame, reformatter: VideoReformatter) -> Image:
    """A decoded picture's pixels, as the camera was held."""
    # By way of three planes it takes half the time that it takes to bgr24, bit for bit the same.
    planes = reformatter.reformat(picture, format="gbrp", interpolation=EXACT).planes
    green, blue, red = (
        np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[:, : plane.width]
        for plane in planes
    )
    pixels = cv2.merge((blue, green, red))
    # The display matrix turns counter-clockwise, as rot90 does.
    return np.ascontiguousarray(np.rot90(pixels, round(picture.rotation / 90)), np.uint8)
