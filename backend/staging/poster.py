"""A picture of a job for lists: its video's first frame, or the face while there is no video."""

import io
import struct
import threading
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Final

import av
import av.error
from PIL import Image, ImageOps

from backend.staging.fragments import FragmentsReader
from backend.staging.probe import CONTAINERS
from backend.staging.store import JobMedia

MAX_SIDE: Final = 512
_FIRST_FRAME_BYTES: Final = 4_000_000
"""A first frame lies within these, and the second is not needed."""
_one_at_a_time = threading.Lock()
"""A list asks for twenty at once, and a photo may decode to 75 MB."""
_DAMAGED: Final = (
    OSError, ValueError, SyntaxError, TypeError, struct.error, Image.DecompressionBombError,
)  # fmt: skip


def poster(media: JobMedia) -> bytes | None:
    """A job's JPEG, of at most 512 pixels a side; of its video as soon as that has begun.

    Returns:
        None where there is no picture, as once the media are gone.
    """
    if media.poster.exists():
        return _read(media.poster)
    with _one_at_a_time:
        for picture, path in (
            (_of_fragments, media.poster),
            (_of_photo, media.face_poster),
            (_of_video, media.face_poster),
        ):
            if path.exists() or _made(picture, media, path):
                return _read(path)
    return None


def _read(path: Path) -> bytes | None:
    with suppress(FileNotFoundError):  # its job is being deleted
        return path.read_bytes()
    return None


def _made(picture: Callable[[JobMedia], Image.Image], media: JobMedia, path: Path) -> bool:
    with suppress(*_DAMAGED):
        image = picture(media)
        image.thumbnail((MAX_SIDE, MAX_SIDE))
        _write(image, path)
        return True
    return False


def _of_fragments(media: JobMedia) -> Image.Image:
    begin = FragmentsReader(media).read(0, _FIRST_FRAME_BYTES)
    return _first_frame(io.BytesIO(begin), "mov,mp4,m4a,3gp,3g2,mj2")


def _of_photo(media: JobMedia) -> Image.Image:
    formats = ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF"]
    with Image.open(media.face, formats=formats) as photo:
        # Before anything is decoded: a JPEG is read at a fraction of its size.
        photo.draft("RGB", (2 * MAX_SIDE, 2 * MAX_SIDE))
        upright = _upright(photo)
        if upright.mode.startswith("I"):  # 16 bits, of which `convert` makes white
            upright = upright.convert("I").point(lambda level: level / 256)
        return upright.convert("RGB")


def _upright(photo: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(photo)
    except _DAMAGED:  # a broken EXIF block spoils no pixel
        return photo


def _of_video(media: JobMedia) -> Image.Image:
    with media.face.open("rb") as file:
        return _first_frame(file, CONTAINERS)


def _first_frame(file: IO[bytes], formats: str) -> Image.Image:
    try:
        with av.open(file, "r", options={"format_whitelist": formats}) as container:
            frame = next(container.decode(video=0))
            picture: Image.Image = frame.to_image()  # type: ignore[no-untyped-call]
            # The display matrix turns counter-clockwise, as Pillow does.
            return picture.rotate(frame.rotation, expand=True)
    except (av.error.FFmpegError, StopIteration, IndexError) as error:
        raise ValueError("no frame") from error


def _write(image: Image.Image, path: Path) -> None:
    unfinished = path.with_name(f"poster-{uuid.uuid4().hex[:8]}.part")
    try:
        image.save(unfinished, "JPEG", quality=85)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
