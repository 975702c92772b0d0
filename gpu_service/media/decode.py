"""Uploaded bytes to a face, to the sound a viewer hears, and to the speech engines hear."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, Literal

import av
import numpy as np
from av.container import InputContainer
from numpy.typing import NDArray

from contracts.errors import (
    SoundMissing,
    SpeechEmpty,
    SpeechTooLong,
    UndecodableMedia,
    UnsupportedMedia,
)
from contracts.limits import MAX_SPEECH_SECONDS
from contracts.marks import PhonemeMark
from gpu_service.data import (
    FULL_SCALE,
    SPEECH_RATE,
    FaceSource,
    Frame,
    Image,
    Samples,
    Sound,
    SpeechChunk,
)
from gpu_service.media.container import frames_of, has_video, open_media
from gpu_service.media.picture import decode_picture, output_size, reduced
from gpu_service.media.video import open_video

MAX_SOUND_RATE: Final = 48_000
"""Sound above this rate is brought down to it: nobody hears more, and 10 minutes stay small."""

CHUNK_SECONDS: Final = Fraction(1, 10)
"""How much speech engines get at a time."""

_PICTURE_STARTS: Final = (
    b"\xff\xd8\xff",
    b"\x89PNG\r\n\x1a\n",
    b"GIF87a",
    b"GIF89a",
    b"BM",
    b"II*\x00",
    b"MM\x00*",
)


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

    def frames(self, first: int = 0) -> Iterator[Frame]:
        """The one picture."""
        if not first:
            yield self.pixels


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
        return Photo(reduced(pixels, width, height), width / pixels.shape[1])
    if kind == "heic":
        raise UnsupportedMedia(
            "HEIC pictures can't be read here", hint="Save the picture as JPEG and send that."
        )
    return open_video(data, max_height)


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
    with open_media(data) as container:
        if not container.streams.audio:
            if has_video(container):
                raise SoundMissing("the video that was sent as the speech has no sound track")
            raise UnsupportedMedia("there is no sound in the file that was sent as the speech")
        return _decode_track(container)


def sound_delay(data: bytes) -> float:
    """How many seconds after a video's first picture its sound begins; below 0 if before it."""
    return _start(data, "audio") - _start(data, "video")


def _start(data: bytes, kind: Literal["audio", "video"]) -> float:
    """When the first stream of a kind begins, in seconds."""
    with open_media(data) as container:
        # Decoded, since the start that FFmpeg names is wrong where the streams begin far apart.
        first = next(frames_of(container, getattr(container.streams, kind)[0]), None)
        return (first and first.time) or 0.0


def _kind(data: bytes) -> Literal["picture", "heic", "stream"]:
    """What the first bytes say the file is; a stream is anything for FFmpeg to try."""
    if data.startswith(_PICTURE_STARTS) or (data[:4] == b"RIFF" and data[8:12] == b"WEBP"):
        return "picture"
    if data[4:8] == b"ftyp" and data[8:12] in (b"avif", b"avis"):
        return "picture"
    if data[4:8] == b"ftyp" and data[8:12] in (b"heic", b"heix", b"heim", b"heis", b"mif1"):
        return "heic"
    return "stream"


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
        mono = sound.samples[:, start : start + block].mean(axis=0, dtype=np.float32) / FULL_SCALE
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


def _decode_track(container: InputContainer) -> Sound:
    """The first sound track."""
    # Ten minutes take 115 MB. Bytes grow in place where arrays, to be joined, would be there twice.
    samples = bytearray()
    resampler: _SoundResampler | None = None
    try:
        for frame in frames_of(container, container.streams.audio[0]):
            if resampler is None:
                resampler = _SoundResampler(frame)
            for block in resampler.resample(frame):
                samples += block.T.tobytes()
            if len(samples) > MAX_SPEECH_SECONDS * resampler.sample_rate * resampler.sample_bytes:
                raise SpeechTooLong(f"the speech lasts more than {MAX_SPEECH_SECONDS:.0f} s")
        if resampler is not None:
            for block in resampler.resample(None):
                samples += block.T.tobytes()
    except (av.FFmpegError, ValueError) as error:
        raise UndecodableMedia("the sound can't be decoded") from error
    if resampler is None or not samples:
        raise SpeechEmpty("there is not one sample of sound in the file")
    joined = np.frombuffer(samples, np.int16).reshape(-1, resampler.channels)
    return Sound(joined.T, resampler.sample_rate)


class _SoundResampler:
    """Brings every frame to the form of the first: 16 bits, one or two channels, one rate."""

    def __init__(self, first: av.AudioFrame) -> None:
        self.sample_rate = min(first.sample_rate, MAX_SOUND_RATE)
        self.channels = min(first.layout.nb_channels, 2)
        self.sample_bytes = self.channels * np.dtype(np.int16).itemsize
        self._layout = "mono" if self.channels == 1 else "stereo"
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

    def resample(self, frame: av.AudioFrame | None) -> list[NDArray[np.int16]]:
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
        return [_rounded(part) for part in done if part.samples]


def _rounded(block: av.AudioFrame) -> NDArray[np.int16]:
    """The block's samples in 16 bits; a float file may hold anything, NaN included."""
    samples = np.nan_to_num(block.to_ndarray(), nan=0.0, posinf=1.0, neginf=-1.0)
    levels = np.rint(np.clip(samples, -1.0, 1.0) * FULL_SCALE)
    return np.asarray(np.minimum(levels, FULL_SCALE - 1), np.int16)
