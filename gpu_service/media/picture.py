"""Photos in every form that people have them, as upright BGR pixels."""

import io
import struct
from typing import Final

import cv2
import numpy as np
from PIL import Image as Pillow
from PIL import ImageCms, ImageOps

from contracts.errors import ImageTooLarge, UndecodableMedia
from contracts.limits import MAX_IMAGE_PIXELS, MAX_OUTPUT_SIDE
from gpu_service.data import Image

PICTURE_FORMATS: Final = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
BEHIND_TRANSPARENT: Final = (224, 224, 224)
"""What shows through a cut-out portrait: a light, neutral grey."""


# What Pillow raises for damaged files; its readers are many and do not agree.
_DAMAGED = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    IndexError,
    RuntimeError,
    struct.error,
)

# The limit below is stricter than Pillow's own, which warns before it refuses.
Pillow.MAX_IMAGE_PIXELS = None


def decode_picture(data: bytes) -> Image:
    """Read a picture, upright, in full size, in sRGB and without transparency.

    Raises:
        ImageTooLarge: It has more than MAX_IMAGE_PIXELS; told from its header.
        UndecodableMedia: It is damaged or cut short.
    """
    try:
        with Pillow.open(io.BytesIO(data), formats=PICTURE_FORMATS) as picture:
            if picture.width * picture.height > MAX_IMAGE_PIXELS:
                raise ImageTooLarge(
                    f"the picture has {picture.width} x {picture.height} pixels, "
                    f"more than {MAX_IMAGE_PIXELS // 1_000_000} million"
                )
            rgb = np.asarray(_to_rgb(_upright(picture)))
    except _DAMAGED as error:
        raise UndecodableMedia("the picture is damaged or cut short") from error
    return np.ascontiguousarray(rgb[..., ::-1])


def _upright(picture: Pillow.Image) -> Pillow.Image:
    try:
        return ImageOps.exif_transpose(picture)
    except _DAMAGED:
        # A broken EXIF block spoils no pixel; a broken picture is found out when it is converted.
        return picture


def _to_rgb(picture: Pillow.Image) -> Pillow.Image:
    if picture.mode in ("I", "F") or picture.mode.startswith("I;16"):
        return _deep_grey_to_rgb(picture)
    if picture.has_transparency_data:
        picture = _in_srgb(picture.convert("RGBA"))
        behind = Pillow.new("RGBA", picture.size, (*BEHIND_TRANSPARENT, 255))
        return Pillow.alpha_composite(behind, picture).convert("RGB")
    if picture.mode == "P":
        picture = picture.convert("RGB")
    return _in_srgb(picture).convert("RGB")


def _in_srgb(picture: Pillow.Image) -> Pillow.Image:
    """The colours that the picture's own profile means; phones save in Display P3."""
    profile = picture.info.get("icc_profile")
    if not profile:
        return picture
    picture.load()
    try:
        own = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "sRGB" in ImageCms.getProfileDescription(own):
            return picture
        mode = "RGBA" if picture.mode == "RGBA" else "RGB"
        srgb = ImageCms.createProfile("sRGB")
        return ImageCms.profileToProfile(picture, own, srgb, outputMode=mode) or picture
    except (ImageCms.PyCMSError, *_DAMAGED):
        # A broken or unfitting profile spoils no pixel.
        return picture


def _deep_grey_to_rgb(picture: Pillow.Image) -> Pillow.Image:
    """Grey of 16 or 32 bits, or floating point; Pillow's own conversion clips it to white."""
    grey = np.nan_to_num(np.asarray(picture).astype(np.float32))
    peak = float(grey.max(initial=0.0))
    full_scale = next((scale for scale in (1.0, 255.0, 65535.0) if peak <= scale), peak)
    if picture.mode != "F":
        full_scale = max(full_scale, 65535.0)
    levels = np.rint(np.clip(grey / full_scale, 0.0, 1.0) * 255).astype(np.uint8)
    return Pillow.fromarray(levels).convert("RGB")


def output_size(width: int, height: int, max_height: int) -> tuple[int, int]:
    """Even sides within the limits, never larger than the source but for a side of one pixel."""
    scale = min(1.0, max_height / height, MAX_OUTPUT_SIDE / max(width, height))
    return max(2, round(width * scale) // 2 * 2), max(2, round(height * scale) // 2 * 2)


def resized(pixels: Image, width: int, height: int) -> Image:
    """The picture in another size; pixels stay as they are where only an edge must go.

    Quick, for the pictures of a video; `reduced` keeps more of a photo's detail.
    """
    if _only_an_edge(pixels, width, height):
        return _without_edge(pixels, width, height)
    resized = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(resized, np.uint8)


def reduced(pixels: Image, width: int, height: int) -> Image:
    """The same with the photo's fine detail kept.

    Areas that are no whole number of pixels wide soften: of faces that were scaled down to 0.5 to
    0.75, they kept 0.6 to 0.7 of the variance of the Laplacian that Lanczos' filter keeps. It takes
    40 ms more for 4 megapixels, which a photo spends once.
    """
    if _only_an_edge(pixels, width, height):
        return _without_edge(pixels, width, height)
    fine = Pillow.fromarray(pixels).resize((width, height), Pillow.Resampling.LANCZOS)
    return np.asarray(fine, np.uint8)


def _only_an_edge(pixels: Image, width: int, height: int) -> bool:
    return pixels.shape[1] - width in (0, 1) and pixels.shape[0] - height in (0, 1)


def _without_edge(pixels: Image, width: int, height: int) -> Image:
    # One row or column too many is cut off, so that every other pixel stays as it was.
    return np.ascontiguousarray(pixels[:height, :width])
