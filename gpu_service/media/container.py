"""Uploaded bytes as audio or video, opened so that they lead nowhere else."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import av
from av.container import InputContainer
from av.stream import Disposition

from contracts.errors import UndecodableMedia, UnsupportedMedia

# FFmpeg follows playlists and concat lists to other files and hosts, whatever the file's name says.
# Only these containers, none of which points elsewhere, may open.
CONTAINERS: Final = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,flv,mpegts,mpeg,asf,"
    "wav,w64,mp3,aac,flac,ogg,aiff,au,caf,amr,ac3,wv"
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


@contextmanager
def open_media(data: bytes) -> Iterator[InputContainer]:
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


def has_video(container: InputContainer) -> bool:
    """Whether there is a video, other than the cover picture of a song."""
    return any(
        not stream.disposition & Disposition.attached_pic for stream in container.streams.video
    )


def frames_of(container: InputContainer, stream: Any) -> Iterator[Any]:
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
