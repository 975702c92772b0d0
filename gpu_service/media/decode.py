"""Uploaded bytes to a face, to the sound a viewer hears, and to the speech engines hear."""

import io
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final, Literal

import av
import numpy as np
from av.container import InputContainer
from av.stream import Disposition
from av.video.reformatter import Interpolation
from numpy.typing import NDArray

from contracts.errors import (
    ImageTooLarge,
    SoundMissing,
    SpeechEmpty,
    SpeechTooLong,
    UndecodableMedia,
    UnsupportedMedia,
)
from contracts.limits import MAX_IMAGE_PIXELS, MAX_SPEECH_SECONDS
from contracts.marks import PhonemeMark
from gpu_service.data import SPEECH_RATE, FaceSource, Frame, Image, Samples, Sound, SpeechChunk
from gpu_service.media.picture import decode_picture, output_size, resized

MAX_SOUND_RATE: Final = 48_000
"""Sound above this rate is brought down to it: nobody hears more, and 10 minutes stay small."""

CHUNK_SECONDS: Final = Fraction(1, 10)
"""How much speech engines get at a time."""

# FFmpeg follows playlists and concat lists to other files and hosts, whatever the file's name says.
# Only these containers, none of which points elsewhere, may open.
CONTAINERS: Final = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,flv,mpegts,mpeg,asf,"
    "wav,w64,mp3,aac,flac,ogg,aiff,au,caf,amr,ac3,wv"
)
DEFAULT_VIDEO_RATE: Final = Fraction(25)
MIN_VIDEO_RATE: Final = Fraction(1)
MAX_VIDEO_RATE: Final = Fraction(60)

_PICTURE_STARTS: Final = (
    b"\xff\xd8\xff",
    b"\x89PNG\r\n\x1a\n",
    b"GIF87a",
    b"GIF89a",
    b"BM",
    b"II*\x00",
    b"MM\x00*",
)
_STREAM_STARTS: Final = (
    b"RIFF",
    b"RF64",
    b"ID3",
    b"fLaC",
    b"OggS",
    b"\x1aE\xdf\xa3",
    b"FORM",
    b"caff",
    b".snd",
    b"#!AMR",
    b"FLV",
    b"\x30\x26\xb2\x75",
    b"\x00\x00\x01\xba",
)
_MP4_BOXES: Final = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide")

# Without accurate rounding, swscale darkens each conversion by about one level.
EXACT: Final = Interpolation.AREA | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT


@dataclass(frozen=True)
class Photo:
    """A still face."""

    pixels: Image
    scale: float
    kind: Literal["photo", "video"] = "photo"
    fps: Fraction | None = None

    @property
    def width(self) -> int:
        """Even, in pixels."""
        return int(self.pixels.shape[1])

    @property
    def height(self) -> int:
        """Even, in pixels."""
        return int(self.pixels.shape[0])

    def frames(self) -> Iterator[Frame]:
        """The one picture."""
        yield self.pixels


@dataclass(frozen=True)
class Video:
    """A moving face; its frames are decoded each time they are asked for."""

    data: bytes
    width: int
    height: int
    scale: float
    fps: Fraction | None
    kind: Literal["photo", "video"] = "video"

    def frames(self) -> Iterator[Frame]:
        """The picture at each tick of the rate, upright and at the output's size.

        A picture stays until the next one comes, however uneven their times are and also where
        damaged ones lie between.
        """
        with _open(self.data) as container:
            pictures = (
                (time, resized(picture, self.width, self.height))
                for time, picture in _pictures(container)
            )
            yield from _at_rate(pictures, self.fps or DEFAULT_VIDEO_RATE)


def decode_face(data: bytes, max_height: int) -> FaceSource:
    """Read a photo or open a video, by its bytes and never by its name.

    Args:
        data: The file as it was uploaded.
        max_height: Tallest output; larger faces are scaled down.

    Raises:
        UnsupportedMedia: The bytes are neither a picture nor a video.
        UndecodableMedia: They are, but damaged.
        ImageTooLarge: There are more than MAX_IMAGE_PIXELS; told from the header.
    """
    kind = _kind(data)
    if kind == "picture":
        pixels = decode_picture(data)
        width, height = output_size(pixels.shape[1], pixels.shape[0], max_height)
        return Photo(resized(pixels, width, height), width / pixels.shape[1])
    if kind == "heic":
        raise UnsupportedMedia(
            "HEIC pictures can't be read here", hint="Save the picture as JPEG and send that."
        )
    return _open_video(data, max_height)


def face_kind(data: bytes) -> Literal["photo", "video"]:
    """What a face's first bytes say it is, before anything is decoded; it may yet be neither."""
    return "video" if _kind(data) == "stream" else "photo"


def decode_sound(data: bytes) -> Sound:
    """Read an audio file, or a video's sound track.

    Raises:
        UnsupportedMedia: The bytes are neither audio nor video.
        UndecodableMedia: They are, but damaged beyond use.
        SoundMissing: It is a video without sound.
        SpeechEmpty: There is not one sample.
        SpeechTooLong: It plays for more than MAX_SPEECH_SECONDS, measured and not believed.
    """
    if _kind(data) in ("picture", "heic"):
        raise UnsupportedMedia("a picture was sent as the speech")
    with _open(data) as container:
        if not container.streams.audio:
            if _has_video(container):
                raise SoundMissing("the video that was sent as the speech has no sound track")
            raise UnsupportedMedia("there is no sound in the file that was sent as the speech")
        blocks, sample_rate = _decode_blocks(container)
    return Sound(np.concatenate(blocks, axis=1), sample_rate)


def sound_delay(data: bytes) -> float:
    """How many seconds after a video's first picture its sound begins; below 0 if before it."""
    with _open(data) as container:
        first = (container.streams.video[0], container.streams.audio[0])
        picture, sound = (float((each.start_time or 0) * (each.time_base or 0)) for each in first)
    return sound - picture


def _kind(data: bytes) -> Literal["picture", "heic", "stream"]:
    """What the first bytes say the file is; a stream is anything for FFmpeg to try."""
    if data.startswith(_PICTURE_STARTS) or (data[:4] == b"RIFF" and data[8:12] == b"WEBP"):
        return "picture"
    if data[4:8] == b"ftyp" and data[8:12] in (b"avif", b"avis"):
        return "picture"
    if data[4:8] == b"ftyp" and data[8:12] in (b"heic", b"heix", b"heim", b"heis", b"mif1"):
        return "heic"
    return "stream"


def _open_video(data: bytes, max_height: int) -> Video:
    with _open(data) as container:
        if not _has_video(container):
            raise UnsupportedMedia("the file that was sent as the face shows no picture")
        stream = container.streams.video[0]
        num_pixels = stream.codec_context.width * stream.codec_context.height
        if num_pixels > MAX_IMAGE_PIXELS:
            raise ImageTooLarge(f"the video's pictures have {num_pixels} pixels each")
        _, first = next(_pictures(container), (None, None))
        if first is None:
            raise UndecodableMedia("not one picture of the video can be decoded")
        rate = stream.average_rate or stream.guessed_rate or DEFAULT_VIDEO_RATE
    fps = min(max(Fraction(rate), MIN_VIDEO_RATE), MAX_VIDEO_RATE)
    width, height = output_size(first.shape[1], first.shape[0], max_height)
    return Video(data, width, height, width / first.shape[1], fps)


def _has_video(container: InputContainer) -> bool:
    """Whether there is a video, other than the cover picture of a song."""
    return any(
        not stream.disposition & Disposition.attached_pic for stream in container.streams.video
    )


def _pictures(container: InputContainer) -> Iterator[tuple[float | None, Image]]:
    """Each picture, upright, and its time in seconds where the file tells it."""
    for frame in _frames_of(container, container.streams.video[0]):
        pixels = frame.reformat(format="bgr24", interpolation=EXACT).to_ndarray()
        # The display matrix turns counter-clockwise, as rot90 does.
        upright = np.rot90(pixels, round(frame.rotation / 90))
        yield frame.time, np.ascontiguousarray(upright, np.uint8)


def _at_rate(pictures: Iterable[tuple[float | None, Image]], fps: Fraction) -> Iterator[Image]:
    """The picture that is to be seen at each tick; one without a time lasts for one tick."""
    start: float | None = None
    ticks, last = 0, None
    for time, picture in pictures:
        if last is not None:
            begins = ticks + 1 if time is None or start is None else round((time - start) * fps)
            for _ in range(begins - ticks):
                yield last
            ticks = max(ticks, begins)
        elif time is not None:
            start = time
        last = picture
    if last is not None:
        yield last


def _frames_of(container: InputContainer, stream: Any) -> Iterator[Any]:
    """Decode a stream as far as it goes; a damaged packet or end loses only itself.

    Raises:
        UndecodableMedia: Something is there, and all of it is damaged.
    """
    damage: Exception | None = None
    whole = 0
    try:
        for packet in container.demux(stream):
            try:
                frames = packet.decode()
            except av.FFmpegError as error:
                damage = error
                continue
            whole += len(frames)
            yield from frames
    # PyAV answers with IndexError when damage makes a stream out of nothing.
    except (av.FFmpegError, IndexError) as error:
        damage = error
    if damage and not whole:
        raise UndecodableMedia("nothing in the file can be decoded") from damage


@contextmanager
def _open(data: bytes) -> Iterator[InputContainer]:
    """Open uploaded bytes as audio or video, and as nothing that leads elsewhere."""
    options = {"format_whitelist": CONTAINERS, "protocol_whitelist": "none"}
    try:
        container = av.open(io.BytesIO(data), "r", container_options=options)
    except (av.FFmpegError, ValueError) as error:
        if data.startswith(_STREAM_STARTS) or data[4:8] in _MP4_BOXES:
            raise UndecodableMedia("the file is damaged or cut short") from error
        raise UnsupportedMedia("the file is neither a picture nor audio nor video") from error
    with container:
        yield container


def speech_chunks(
    sound: Sound, marks: Sequence[PhonemeMark] | None = None
) -> Iterator[SpeechChunk]:
    """Cut the sound into pieces of mono speech, as long in all as the sound is.

    Args:
        sound: What the viewer will hear.
        marks: Phonemes of the whole speech, where the voice gave them.
    """
    total = max(1, round(Fraction(sound.samples.shape[1], sound.sample_rate) * SPEECH_RATE))
    waiting = None if marks is None else deque(sorted(marks, key=lambda mark: mark.start))
    taken = 0
    for samples in _exactly(total, _resample(sound)):
        taken += len(samples)
        if waiting is None:
            yield SpeechChunk(samples)
            continue
        # The last piece takes the rest: rounding in the voice may place a mark past the end.
        due = []
        while waiting and (waiting[0].start * SPEECH_RATE < taken or taken == total):
            due.append(waiting.popleft())
        yield SpeechChunk(samples, tuple(due))


def _exactly(total: int, pieces: Iterable[Samples]) -> Iterator[Samples]:
    """The pieces, cut or filled at the end: a resampler may be a sample short or over."""
    missing = total
    for piece in pieces:
        if missing:
            yield piece[:missing]
        missing -= len(piece[:missing])
    if missing:
        yield np.zeros(missing, np.float32)


def _resample(sound: Sound) -> Iterator[Samples]:
    resampler = av.AudioResampler(format="fltp", layout="mono", rate=SPEECH_RATE)
    block = max(1, int(CHUNK_SECONDS * sound.sample_rate))
    for start in range(0, sound.samples.shape[1], block):
        # Averaged here: the resampler's own mix of two channels is 1.4 times as loud.
        mono = sound.samples[:, start : start + block].mean(axis=0, dtype=np.float32)
        frame = av.AudioFrame.from_ndarray(mono[np.newaxis], format="fltp", layout="mono")
        frame.sample_rate = sound.sample_rate
        frame.pts = start
        frame.time_base = Fraction(1, sound.sample_rate)
        yield from _samples_of(resampler.resample(frame))
    yield from _samples_of(resampler.resample(None))


def _samples_of(frames: Iterable[av.AudioFrame]) -> Iterator[Samples]:
    for frame in frames:
        if frame.samples:
            yield frame.to_ndarray()[0].astype(np.float32, copy=False)


def _decode_blocks(container: InputContainer) -> tuple[list[NDArray[np.float32]], int]:
    """The first sound track, as (channels, num_samples) blocks and their rate."""
    blocks: list[NDArray[np.float32]] = []
    num_samples = 0
    resampler: _SoundResampler | None = None
    try:
        for frame in _frames_of(container, container.streams.audio[0]):
            if resampler is None:
                resampler = _SoundResampler(frame)
            for block in resampler.resample(frame):
                blocks.append(block)
                num_samples += block.shape[1]
            if num_samples > MAX_SPEECH_SECONDS * resampler.sample_rate:
                raise SpeechTooLong(f"the speech lasts more than {MAX_SPEECH_SECONDS:.0f} s")
        if resampler is not None:
            blocks.extend(resampler.resample(None))
    except (av.FFmpegError, ValueError) as error:
        raise UndecodableMedia("the sound can't be decoded") from error
    if resampler is None or not any(block.shape[1] for block in blocks):
        raise SpeechEmpty("there is not one sample of sound in the file")
    return blocks, resampler.sample_rate


class _SoundResampler:
    """Brings every frame to the form of the first: float, one or two channels, one rate."""

    def __init__(self, first: av.AudioFrame) -> None:
        self.sample_rate = min(first.sample_rate, MAX_SOUND_RATE)
        self._layout = "mono" if first.layout.nb_channels == 1 else "stereo"
        self._form = self._form_of(first)
        self._resampler = self._new()

    def _new(self) -> av.AudioResampler:
        # Unless told, the mix of surround sound into two channels may pass full scale.
        return av.AudioResampler(
            "fltp", self._layout, self.sample_rate, options={"rematrix_maxval": "1"}
        )

    @staticmethod
    def _form_of(frame: av.AudioFrame) -> tuple[str, str, int]:
        return frame.format.name, frame.layout.name, frame.sample_rate

    def resample(self, frame: av.AudioFrame | None) -> list[NDArray[np.float32]]:
        """Convert one frame; None gives what is left."""
        done: list[av.AudioFrame] = []
        if frame is not None and self._form_of(frame) != self._form:
            # Joined recordings change their form on the way, which one resampler can't follow.
            done += self._resampler.resample(None)
            self._form = self._form_of(frame)
            self._resampler = self._new()
        if frame is not None:
            # Broken time stamps would make the resampler insert or drop sound.
            frame.pts = None
        done += self._resampler.resample(frame)
        return [_clean(part) for part in done if part.samples]


def _clean(block: av.AudioFrame) -> NDArray[np.float32]:
    """The block's samples; a float file may hold anything, NaN included."""
    samples = block.to_ndarray().astype(np.float32, copy=False)
    return np.clip(np.nan_to_num(samples, nan=0.0, posinf=1.0, neginf=-1.0), -1.0, 1.0)
