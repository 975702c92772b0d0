"""What is this file: kind from its bytes, pixels, seconds; refuses what the limits forbid."""

import re
from fractions import Fraction
from pathlib import Path
from typing import Literal

import av
import av.error
from av.container import InputContainer
from av.stream import Disposition
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream
from PIL import Image

from contracts.errors import (
    ImageTooLarge,
    SoundMissing,
    SpeechEmpty,
    SpeechTooLong,
    UndecodableMedia,
    UnsupportedMedia,
)
from contracts.limits import MAX_IMAGE_PIXELS, MAX_SPEECH_SECONDS

_IMAGES = (
    (re.compile(rb"\xff\xd8\xff"), "JPEG"),
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "PNG"),
    (re.compile(rb"GIF8[79]a"), "GIF"),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), "WEBP"),
    (re.compile(rb"BM.{4}\0\0\0\0", re.DOTALL), "BMP"),
    (re.compile(rb"II\*\0|MM\0\*"), "TIFF"),
)
# None of these containers points to other files, as playlists and concat lists do.
CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,flv,mpegts,mpeg,asf,"
    "wav,w64,mp3,aac,flac,ogg,aiff,au,caf,amr,ac3,wv"
)
_CONTAINER_STARTS = re.compile(
    rb".{4}(ftyp|moov|mdat|wide|free|skip)|RIFF|RF64|FORM|OggS|fLaC|caff|ID3|FLV|\.snd|#!AMR|wvpk"
    rb"|\xff[\xe2-\xff]|\x1aE\xdf\xa3|\x30\x26\xb2\x75|\0\0\x01\xba|\x0bw",
    re.DOTALL,
)
_HEIC = re.compile(rb".{4}ftyp(heic|heix|hevc|mif1|msf1|avif|avis)", re.DOTALL)


def probe_face(path: Path) -> Literal["photo", "video"]:
    """Check a staged photo or video of a face.

    Raises:
        UnsupportedMedia: The bytes are neither.
        UndecodableMedia: They begin as one, but are damaged.
        ImageTooLarge: It has too many pixels.
    """
    head = _head(path)
    for magic, image_format in _IMAGES:
        if magic.match(head):
            _check_pixels(*_image_size(path, image_format))
            return "photo"
    if _HEIC.match(head):
        raise UnsupportedMedia(
            "HEIC and AVIF pictures are not accepted", hint="Save the picture as JPEG or PNG."
        )
    with _open_container(path, head, "face") as container:
        # A song's cover is a video stream, too.
        stream = next(filter(_has_pictures, container.streams.video), None)
        if stream is None:
            raise UnsupportedMedia("the file sent as the face is a sound recording")
        # None, against its type, where FFmpeg knows no decoder.
        codec: VideoCodecContext | None = stream.codec_context
        if codec is None:
            raise UnsupportedMedia("the pictures of the video sent as the face can't be decoded")
        _check_pixels(codec.width, codec.height)
    return "video"


def probe_speech(path: Path) -> float:
    """Check a staged recording, or a video's sound track, by decoding it.

    Returns:
        Its length in seconds. Headers may lie, so samples are counted.

    Raises:
        UnsupportedMedia: The bytes are no recording.
        UndecodableMedia: They begin as one, but are damaged.
        SoundMissing: It is a video without sound.
        SpeechEmpty: It has no samples.
        SpeechTooLong: It goes on beyond the limit.
    """
    head = _head(path)
    if any(magic.match(head) for magic, _ in _IMAGES):
        raise UnsupportedMedia("the file sent as the speech is a picture")
    with _open_container(path, head, "speech") as container:
        if not container.streams.audio:
            raise SoundMissing("the video sent as the speech has no sound track")
        seconds = _count_seconds(container)
    if seconds == 0:
        raise SpeechEmpty("the recording has no samples")
    return seconds


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        head = file.read(64)
    if not head:
        raise UndecodableMedia("an uploaded file is empty")
    return head


def _image_size(path: Path, image_format: str) -> tuple[int, int]:
    try:
        # Only the header is read: 81 megapixels fit into 10 kB and decode to 600 MB.
        with Image.open(path, formats=[image_format]) as image:
            return image.size
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageTooLarge("the picture has far too many pixels") from error
    except (OSError, ValueError, SyntaxError) as error:
        raise UndecodableMedia(f"the {image_format} picture can't be read") from error


def _check_pixels(width: int, height: int) -> None:
    if width * height > MAX_IMAGE_PIXELS:
        megapixels = width * height / 1e6
        raise ImageTooLarge(f"{width} x {height} are {megapixels:.0f} megapixels")


def _open_container(path: Path, head: bytes, role: str) -> InputContainer:
    options = {"format_whitelist": CONTAINERS, "protocol_whitelist": "file"}
    try:
        return av.open(path, options=options)
    except (av.error.FFmpegError, ValueError) as error:
        if _CONTAINER_STARTS.match(head):
            raise UndecodableMedia(
                f"the file sent as the {role} is damaged or cut short"
            ) from error
        raise UnsupportedMedia(
            f"the file sent as the {role} is neither a picture nor audio nor video"
        ) from error


def _has_pictures(stream: VideoStream) -> bool:
    return not stream.disposition & Disposition.attached_pic


def _count_seconds(container: InputContainer) -> float:
    stream = container.streams.audio[0]
    seconds = Fraction(0)
    try:
        for frame in container.decode(stream):
            seconds += Fraction(frame.samples, frame.sample_rate)
            if seconds > MAX_SPEECH_SECONDS:
                raise SpeechTooLong(
                    f"the speech is longer than {MAX_SPEECH_SECONDS / 60:.0f} minutes"
                )
    except (av.error.FFmpegError, ValueError) as error:
        # A recording that was cut off ends in a broken packet; what came before it can be used.
        if seconds == 0:
            raise UndecodableMedia("the recording can't be decoded") from error
    return float(seconds)
