"""Frames and sound to H.264 and AAC in MP4: one encoder, into a file or into fragments."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Final, NamedTuple

import av
import numpy as np
from av.audio.stream import AudioStream
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from av.video.stream import VideoStream

from gpu_service.data import Box, Frame, Sound
from gpu_service.media.yuv import YuvConverter

SOUND_RATE: Final = 48_000
BITS_PER_CHANNEL: Final = 80_000
FRAGMENT_SECONDS: Final = Fraction(1, 5)
KEYFRAME_SECONDS: Final = 2
QUALITY: Final = "19"
"""x264's constant rate factor: no difference to be seen at the usual distance."""

# Heads move a few pixels a frame, which the small diamond finds as well as the hexagon does: a
# tenth of x264's time less, for at most 0.6 % more bytes.
SEARCH: Final = {"x264-params": "me=dia:merange=4"}
# Motion of whole macroblocks only takes another fifth of the time away and costs 4 to 9 % of the
# bytes. Keyframes that are far better than the frames between them, which inherit from them, save
# as many where there is neither look-ahead nor B-frames, and a still background changes less at
# each of them. Of seven clips of talking faces, this makes files within 5 % of the plain preset's
# at 19, in 0.70 to 0.86 of the time: four are closer to their frames, by 0.2 to 0.6 dB of PSNR, two
# as close, and the grainiest is 0.2 dB less close. benchmarks/encoder.py measures it.
WITHOUT_DELAY: Final = {
    "crf": "19.5",
    "tune": "zerolatency",
    "x264-params": "me=dia:merange=4:partitions=i8x8,i4x4:ipratio=1.8:aq-strength=0.9",
}

# delay_moov: without it, a hole of 64 ms follows the video's first fragment. Fragments are cut by
# duration and not by frame, since the frames of one-frame fragments have no duration in browsers.
_FRAGMENT_FLAGS: Final = "delay_moov+default_base_moof+skip_trailer"
_VIDEO_TRACK: Final = 1


class Fragment(NamedTuple):
    """A piece of a fragmented MP4; joined in order, they are the whole file."""

    data: bytes
    start: float
    """Presentation time of its first frame, in seconds."""
    seconds: float
    """How much video it holds; 0 for the `ftyp` and `moov` that come first."""


class _FragmentSink:
    """Takes the muxer's bytes as they come and cuts them into fragments.

    Args:
        fps: Frame rate of the video.
    """

    def __init__(self, fps: Fraction) -> None:
        self._fps = fps
        self._buffer = bytearray()
        self._head = bytearray()
        self._ready: list[Fragment] = []
        self._num_frames = 0

    def write(self, data: bytes) -> int:
        """Called by the muxer."""
        self._buffer += data
        while (size := int.from_bytes(self._buffer[:4])) and len(self._buffer) >= max(size, 8):
            box = bytes(self._buffer[:size])
            del self._buffer[:size]
            self._add(box)
        return len(data)

    def take(self) -> list[Fragment]:
        """The fragments that are finished and were not taken yet."""
        ready, self._ready = self._ready, []
        return ready

    def _add(self, box: bytes) -> None:
        self._head += box
        kind = box[4:8]
        if kind == b"moov":
            self._ready.append(Fragment(bytes(self._head), 0.0, 0.0))
            self._head.clear()
        elif kind == b"mdat":
            num_frames = _num_video_frames(bytes(self._head))
            start, seconds = self._num_frames / self._fps, num_frames / self._fps
            self._ready.append(Fragment(bytes(self._head), float(start), float(seconds)))
            self._num_frames += num_frames
            self._head.clear()


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Name and content of each box of an MP4 (ISO/IEC 14496-12, 4.2)."""
    start = 0
    while start < len(data):
        size = int.from_bytes(data[start : start + 4])
        yield data[start + 4 : start + 8], data[start + 8 : start + size]
        start += size


def _num_video_frames(fragment: bytes) -> int:
    """How many samples the video's track runs hold (ISO/IEC 14496-12, 8.8.7 and 8.8.8)."""
    num_frames = 0
    for track in (
        list(_boxes(track))
        for name, movie_fragment in _boxes(fragment)
        if name == b"moof"
        for part, track in _boxes(movie_fragment)
        if part == b"traf"
    ):
        track_id = next(int.from_bytes(box[4:8]) for name, box in track if name == b"tfhd")
        if track_id == _VIDEO_TRACK:
            num_frames += sum(int.from_bytes(box[4:8]) for name, box in track if name == b"trun")
    return num_frames


class Encoder:
    """Writes one video; video and sound begin together, and the sound keeps step.

    Args:
        file: An MP4, written with its index first (faststart); None makes fragments.
        width: Even, in pixels.
        height: Even, in pixels.
        fps: Frame rate.
        sound: What is heard; all of it, so it may end up to half a frame after the last picture.
        label: Says in the file's metadata what made it.
    """

    def __init__(
        self,
        file: Path | None,
        *,
        width: int,
        height: int,
        fps: Fraction,
        sound: Sound,
        label: str,
    ) -> None:
        self._sink = None if file else _FragmentSink(fps)
        fragment_us = int(FRAGMENT_SECONDS * 1_000_000)
        options = {"movflags": _FRAGMENT_FLAGS, "frag_duration": str(fragment_us)}
        if file:
            options = {"movflags": "+faststart"}
        self._container = av.open(self._sink or str(file), "w", format="mp4", options=options)
        for field in ("comment", "description"):
            self._container.metadata[field] = label
        self._fps = fps
        self._sound = sound
        self._video = self._add_video(width, height)
        self._audio = self._add_audio()
        self._converter = YuvConverter()
        self._resampler = av.AudioResampler("fltp", self._audio.layout, SOUND_RATE)
        self._num_frames = 0
        self._num_samples = 0

    def _add_video(self, width: int, height: int) -> VideoStream:
        # Slices for each core cost 0.5 % of the bytes on two cores and 2 to 5 % on eight.
        options = {"preset": "veryfast", "crf": QUALITY, **SEARCH}
        if self._sink:
            options |= WITHOUT_DELAY
        stream = self._container.add_stream("libx264", rate=self._fps, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        codec = stream.codec_context
        codec.gop_size = round(KEYFRAME_SECONDS * self._fps)
        codec.colorspace = Colorspace.ITU709
        codec.color_primaries = ColorPrimaries.BT709
        codec.color_trc = ColorTrc.BT709
        codec.color_range = ColorRange.MPEG
        return stream

    def _add_audio(self) -> AudioStream:
        channels = self._sound.samples.shape[0]
        # The other coder, which is the default, takes three times as long and comes no closer to
        # speech: 25 dB against 30 dB above the error, at the same size.
        stream = self._container.add_stream("aac", rate=SOUND_RATE, options={"aac_coder": "fast"})
        stream.layout = "mono" if channels == 1 else "stereo"
        stream.bit_rate = BITS_PER_CHANNEL * channels
        return stream

    def write(self, pixels: Frame, changed: Box | None = None) -> list[Fragment]:
        """Add the next frame and the sound up to its end.

        Args:
            pixels: The frame.
            changed: Outside of it, the pixels are those of the frame before; None where all may
                differ. It saves time and changes nothing of the video.

        Returns:
            The fragments that this finished.
        """
        # The converter writes into the same picture again: the encoder has copied it by then.
        frame = self._converter.convert(pixels, changed)
        frame.pts, frame.time_base = self._num_frames, 1 / self._fps
        self._num_frames += 1
        self._container.mux(self._video.encode(frame))
        self._hear_until(round(self._num_frames / self._fps * self._sound.sample_rate))
        return self._sink.take() if self._sink else []

    def _hear_until(self, end: int) -> None:
        samples = self._sound.samples[:, self._num_samples : end]
        if not samples.shape[1]:
            return
        block = np.ascontiguousarray(samples)
        frame = av.AudioFrame.from_ndarray(block, format="s16p", layout=self._audio.layout.name)
        frame.sample_rate = self._sound.sample_rate
        frame.pts, frame.time_base = self._num_samples, Fraction(1, self._sound.sample_rate)
        self._num_samples += samples.shape[1]
        self._encode_sound(frame)

    def _encode_sound(self, frame: av.AudioFrame | None) -> None:
        for resampled in self._resampler.resample(frame):
            self._container.mux(self._audio.encode(resampled))

    def finish(self) -> list[Fragment]:
        """Write what is still held, and the end of the file; gives the last fragments."""
        self._hear_until(self._sound.samples.shape[1])
        self._encode_sound(None)
        self._container.mux(self._video.encode(None))
        self._container.mux(self._audio.encode(None))
        self._container.close()
        return self._sink.take() if self._sink else []

    def close(self) -> None:
        """Let go of the file, whole or not."""
        self._container.close()
