"""Files in the forms that every program reads: pictures as JPEG or PNG, speech as WAV."""

import wave
from pathlib import Path
from typing import Final

import av
import av.error
from PIL import Image, ImageOps

from backend.staging.probe import CONTAINERS
from contracts.errors import UndecodableMedia

MAX_WAV_RATE: Final = 48_000

_PICTURES: Final = {b"\xff\xd8\xff": "face.jpg", b"\x89PNG": "face.png"}
_OTHER_PICTURES: Final = (b"GIF8", b"RIFF", b"BM", b"II*\0", b"MM\0*")


class NamedFile:
    """A file, with the name that says of what kind it is.

    Args:
        name: With the ending that programs go by.
        path: Where it lies.
    """

    def __init__(self, name: str, path: Path) -> None:
        self.name = name
        self.path = path


def common_face(face: Path, folder: Path) -> NamedFile:
    """A staged photo as JPEG or PNG, a video as it is.

    Args:
        face: As `probe_face` has accepted it.
        folder: Where it is converted to, if need be.

    Raises:
        UndecodableMedia: The picture is damaged.
        OSError: It can't be written.
    """
    with face.open("rb") as file:
        head = file.read(16)
    for start, name in _PICTURES.items():
        if head.startswith(start):
            return NamedFile(name, face)
    if not head.startswith(_OTHER_PICTURES) or head[8:12] == b"AVI ":
        return NamedFile("face.mp4", face)
    converted = folder / "face.png"
    try:
        with Image.open(face, formats=["GIF", "WEBP", "BMP", "TIFF"]) as photo:
            picture = ImageOps.exif_transpose(photo).convert("RGB")
    except (OSError, ValueError, SyntaxError) as error:
        raise UndecodableMedia("the picture can't be read") from error
    picture.save(converted, "PNG", compress_level=1)
    return NamedFile(converted.name, converted)


def common_speech(speech: Path, folder: Path) -> NamedFile:
    """Staged speech as WAV: a WAV as it is, else 16-bit mono.

    Args:
        speech: As `probe_speech` has accepted it.
        folder: Where it is converted to, if need be.

    Raises:
        UndecodableMedia: Nothing of it can be decoded.
        OSError: It can't be written.
    """
    with speech.open("rb") as file:
        head = file.read(12)
    if head.startswith(b"RIFF") and head[8:] == b"WAVE":
        return NamedFile("speech.wav", speech)
    converted = folder / "speech.wav"
    num_samples = 0
    with av.open(speech, options={"format_whitelist": CONTAINERS}) as source:
        track = source.streams.audio[0]
        sample_rate = min(track.sample_rate, MAX_WAV_RATE)
        resampler = av.AudioResampler("s16", "mono", sample_rate)
        with wave.open(str(converted), "wb") as target:
            target.setnchannels(1)
            target.setsampwidth(2)
            target.setframerate(sample_rate)
            try:
                for frame in source.decode(track):
                    for part in resampler.resample(frame):
                        target.writeframes(part.to_ndarray().tobytes())
                        num_samples += part.samples
                for part in resampler.resample(None):
                    target.writeframes(part.to_ndarray().tobytes())
            except (av.error.FFmpegError, ValueError) as error:
                # A recording that was cut off ends in a broken packet; what came before counts.
                if not num_samples:
                    raise UndecodableMedia("the recording can't be decoded") from error
    return NamedFile(converted.name, converted)
