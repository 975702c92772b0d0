"""Why no face of a picture can be animated, and what would help."""

import math
from collections.abc import Sequence

import cv2
import numpy as np

from contracts.errors import FaceTooSmall, NoFaceFound
from contracts.limits import MAX_OUTPUT_SIDE, MIN_FACE_PX
from gpu_service.data import Face, Image

DARK_PICTURE = 40
"""Median brightness below which a picture counts as dark, of 255."""
_SPARE = 1.05
"""Faces are measured a few per cent wider or narrower in another size."""


def nobody(picture: Image, unsure: Sequence[Face], scale: float) -> NoFaceFound:
    """The error where no face was found.

    Args:
        picture: In which none was.
        unsure: What looked like faces, but whose landmarks are too unsteady.
        scale: Pixels of the picture for one pixel of the upload, in which the words count.
    """
    detail = "no face was found in the picture"
    if float(np.median(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY))) < DARK_PICTURE:
        detail += ", which is dark"
    if unsure:
        likeliest = min(unsure, key=lambda face: face.spread)
        corners = ", ".join(str(round(edge / scale)) for edge in likeliest.box)
        detail += f"; what is at ({corners}) looks like one, but too vaguely to animate it"
    return NoFaceFound(detail)


def too_small(width: float, picture: Image, scale: float) -> FaceTooSmall:
    """The error where the chosen face is too small.

    Args:
        width: Of the face, in pixels from ear to ear.
        picture: In which it was found.
        scale: Pixels of the picture for one pixel of the upload.
    """
    needed = f"{MIN_FACE_PX} are needed to animate it"
    uploaded = width / scale
    if round(uploaded) < MIN_FACE_PX or round(uploaded) == round(width):
        return FaceTooSmall(f"the face is {width:.0f} pixels wide; {needed}")
    height, longest = picture.shape[0], max(picture.shape[:2])
    growth = _SPARE * MIN_FACE_PX / width
    max_height = math.ceil(growth * height / 10) * 10
    hint = "Crop closer to the face"
    if max_height / height * longest <= MAX_OUTPUT_SIDE:
        hint += f", or raise max_height to {max_height}"
    return FaceTooSmall(
        f"the face is {uploaded:.0f} pixels wide in the upload, but {width:.0f} where that is "
        f"scaled down to {picture.shape[1]}x{height}; {needed}",
        hint=f"{hint}.",
    )
