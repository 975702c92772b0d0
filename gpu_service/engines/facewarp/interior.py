"""The inside of the mouth: the photo's own teeth where it shows them, else teeth that are drawn."""

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.ndimage import median_filter

from gpu_service.data import Image
from gpu_service.engines.facewarp.geometry import (
    MIDDLE,
    SEAM_U,
    Floats,
    LipEdges,
    MouthFrame,
)

_SKIN = (50, 205, 187, 280, 425, 411, 199, 200)
_LEFT_CHEEK, _RIGHT_CHEEK = (50, 205, 187), (280, 425, 411)
_LIPS = (37, 0, 267, 11, 72, 302, 84, 17, 314, 85, 16, 315)
_TOOTH_WIDTHS = (0.29, 0.21, 0.17, 0.12, 0.09)
"""From the midline outwards, as seen from the front, in half mouths at rest."""
_SHOWN_TEETH = 0.20
"""Teeth shorter than this in the photo, in half mouths at rest, are drawn instead."""
_NATURAL_CHROMA = 0.35
"""How far a channel of skin under white light is from its luma, of that luma."""
_NO_MAP = np.empty((0, 0), np.float32)
"""cv2.remap takes both coordinates in its first map."""
_BLUE_GREEN_RED = np.array([0.114, 0.587, 0.299], np.float32)


@dataclass(frozen=True)
class MouthColours:
    """Colours of what a closed mouth hides, from the face around it; BGR."""

    cavity: Floats
    tongue: Floats
    tooth: Floats
    tilt: float
    """How much brighter the picture's right side is lit, in [-1, 1]."""
    skin_luma: float


@dataclass(frozen=True)
class Interior:
    """Layers in the pixels of the mouth area, premultiplied BGR and opacity."""

    cavity: Floats
    """(3,)"""
    glow: Floats
    """(3,) what the lips throw into the shadow between them."""
    upper: Floats
    """(height, width, 4) what stays with the skull: the upper teeth."""
    lower: Floats
    """(height, width, 4) what moves with the jaw: the tongue."""
    shadow: float
    """How deep the lips' shadow falls on the upper teeth; a photo's teeth bring their own."""
    half_mouth: float

    def paint(
        self,
        top: int,
        left: int,
        above: Floats,
        below: Floats,
        jaw: Floats,
        head: Floats | None = None,
    ) -> Floats:
        """Draw a part of the mouth area.

        Args:
            top: First row of the part.
            left: First column of the part.
            above: (height, width) pixels to the upper lip's edge, positive inside the mouth.
            below: (height, width) pixels to the lower lip's edge, positive inside the mouth.
            jaw: (2,) how far the jaw has moved in the still head, in pixels.
            head: (height, width, 2) where the part's pixels lie in the still portrait, relative to
                them, in pixels; None for a still head.

        Returns:
            (height, width, 3) BGR in 0..255.
        """
        height, width = above.shape
        upper, lower = self._layers(top, left, (height, width), jaw, head)
        depth: Floats = np.clip(above / (0.30 * self.half_mouth), 0, 1)
        floor = 0.7 + 0.9 * np.clip(1 - below / (0.45 * self.half_mouth), 0, 1)
        image = self.cavity * floor[..., None]
        image = image * (1 - lower[..., 3:]) + lower[..., :3] * (0.35 + 0.65 * depth)[..., None]
        light = 1 - self.shadow * (1 - np.clip(above / (0.12 * self.half_mouth), 0, 1)) ** 2
        image = image * (1 - upper[..., 3:]) + upper[..., :3] * light[..., None]
        # The lower lip shades the teeth behind it; in grey pictures nothing else tells them apart.
        shade = 0.5 + 0.5 * np.clip(below / (0.08 * self.half_mouth), 0, 1)
        # Little light falls through lips that hardly part, and what does has their colour.
        shade *= 0.6 + 0.4 * np.clip((above + below) / (0.20 * self.half_mouth), 0, 1)
        image = image * shade[..., None] + self.glow * (1 - shade[..., None])
        return np.asarray(image, np.float32)

    def _layers(
        self, top: int, left: int, size: tuple[int, int], jaw: Floats, head: Floats | None
    ) -> tuple[Floats, Floats]:
        """(height, width, 4) each: what is on the skull, and what is on the jaw."""
        height, width = size
        if head is None:
            shift = np.array([[1, 0, jaw[0] - left], [0, 1, jaw[1] - top]], np.float32)
            lower = cv2.warpAffine(self.lower, shift, (width, height), flags=cv2.INTER_LINEAR)
            upper = self.upper[top : top + height, left : left + width]
            return upper, np.asarray(lower, np.float32)
        x, y = np.meshgrid(
            np.arange(left, left + width, dtype=np.float32),
            np.arange(top, top + height, dtype=np.float32),
        )
        skull = np.stack((x, y), axis=-1) + head
        on_skull = cv2.remap(self.upper, skull, _NO_MAP, cv2.INTER_LINEAR)
        on_jaw = cv2.remap(self.lower, skull - jaw, _NO_MAP, cv2.INTER_LINEAR)
        return np.asarray(on_skull, np.float32), np.asarray(on_jaw, np.float32)


def mouth_colours(pixels: Image, points: Floats) -> MouthColours:
    """Guess the colours of the mouth's inside.

    Args:
        pixels: The region.
        points: (478, 2) landmarks in the region.
    """
    smooth = cv2.blur(pixels, (3, 3))

    def colours(index: tuple[int, ...]) -> Floats:
        at = np.rint(points[list(index)]).astype(int)
        x, y = at[:, 0].clip(0, pixels.shape[1] - 1), at[:, 1].clip(0, pixels.shape[0] - 1)
        return np.asarray(smooth[y, x], np.float32)

    skin, lip = np.median(colours(_SKIN), axis=0), np.median(colours(_LIPS), axis=0)
    skin_luma, lip_luma = float(skin @ _BLUE_GREEN_RED), float(lip @ _BLUE_GREEN_RED)
    cheeks = colours(_LEFT_CHEEK + _RIGHT_CHEEK) @ _BLUE_GREEN_RED
    left, right = float(cheeks[:3].mean()), float(cheeks[3:].mean())
    tooth_luma = float(np.clip(0.97 * np.percentile(cheeks, 80), 45, 210))
    return MouthColours(
        cavity=_tinted(0.15 * lip_luma, lip - lip_luma, 0.30),
        tongue=_tinted(0.72 * lip_luma, lip - lip_luma, 0.80),
        tooth=np.clip(tooth_luma * _white(skin / max(skin_luma, 1.0)), 0, 255),
        tilt=float(np.clip((right - left) / max(right + left, 1.0), -0.4, 0.4)),
        skin_luma=skin_luma,
    )


def _white(skin: Floats) -> Floats:
    """(3,) the colour of white under the light of a face, at luma 1.

    Args:
        skin: (3,) the face's colour at luma 1.
    """
    chroma = skin - 1
    natural = chroma * min(1.0, _NATURAL_CHROMA / max(float(np.abs(chroma).max()), 1e-3))
    # What exceeds the colour of any skin is the light's own, or the painter's: it falls on teeth
    # as it does on the whites of the eyes.
    return np.asarray(1 + 0.30 * natural + 0.9 * (chroma - natural), np.float32)


def _tinted(luma: float, chroma: Floats, share: float) -> Floats:
    return np.asarray(np.clip(luma + share * chroma, 0, 255), np.float32)


def build_interior(
    pixels: Image, landmarks: Floats, mouth: MouthFrame, edges: LipEdges, unit: float,
    u: Floats, v: Floats,
) -> Interior:  # fmt: skip
    """The layers of one portrait.

    Args:
        pixels: The region.
        landmarks: (478, 2) in the region.
        mouth: In the region.
        edges: Of the lips in the source picture.
        unit: Half a mouth at rest, in half mouths of the picture.
        u: (height, width) of the mouth area's pixels.
        v: Likewise.
    """
    colours = mouth_colours(pixels, landmarks)
    middle = float(mouth.local(landmarks[[13, 14]])[:, 0].mean())
    lower = _lower_layer(u, v, colours, edges, unit, middle)
    photo = None if edges.closed else photo_layer(pixels, mouth, edges, unit, colours, u, v)
    upper = photo if photo is not None else _upper_layer(u, v, colours, edges, unit, middle)
    return Interior(
        colours.cavity,
        0.5 * colours.tongue,
        upper,
        lower,
        0.25 if photo is not None else 0.5,
        mouth.half_mouth,
    )


def photo_layer(
    pixels: Image, mouth: MouthFrame, edges: LipEdges, unit: float, colours: MouthColours,
    u: Floats, v: Floats,
) -> Floats | None:  # fmt: skip
    """The photo's own upper teeth, or None where it shows too little of them."""
    bottom = _tooth_bottom(pixels, mouth, edges, colours)
    front = np.abs(SEAM_U) < 0.5
    if float(np.percentile((bottom - edges.upper)[front], 25)) < _SHOWN_TEETH * unit:
        return None
    low = np.interp(u, SEAM_U, bottom).astype(np.float32)
    high = np.interp(u, SEAM_U, edges.upper).astype(np.float32) + 0.04
    source_v = np.clip(v, high, np.maximum(low, high))
    source = mouth.pixels(np.stack((np.clip(u, -0.97, 0.97), source_v), axis=-1))
    image = cv2.remap(
        pixels, source[..., 0], source[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    ).astype(np.float32)
    soft = 0.03
    opacity = np.clip((low - v) / soft + 1, 0, 1) * np.clip((1.0 - np.abs(u)) / 0.1, 0, 1)
    return np.concatenate((image * opacity[..., None], opacity[..., None]), axis=-1).astype(
        np.float32
    )


def _tooth_bottom(
    pixels: Image, mouth: MouthFrame, edges: LipEdges, colours: MouthColours
) -> Floats:
    """(SEAM_POINTS,) v to which the photo's upper teeth reach; the lip's edge where none are."""
    levels = np.linspace(0.05, 0.97, 32, dtype=np.float32)[:, None]
    sample_v = edges.upper + levels * (edges.lower - edges.upper)
    at = mouth.pixels(np.stack((np.broadcast_to(SEAM_U, sample_v.shape), sample_v), axis=-1))
    sampled = cv2.remap(pixels, at[..., 0], at[..., 1], cv2.INTER_LINEAR).astype(np.float32)
    luma = sampled @ _BLUE_GREEN_RED
    bright = float(np.percentile(luma[:, np.abs(SEAM_U) < 0.75], 85))
    if bright < 0.60 * colours.skin_luma:
        return edges.upper
    is_tooth = luma > 0.62 * bright
    # The first bright run counts: what is bright below a dark stretch are lower teeth.
    started = np.maximum.accumulate(is_tooth, axis=0)
    ended = np.maximum.accumulate(started & ~is_tooth, axis=0)
    length = (started & ~ended).sum(axis=0)
    # Teeth in the corners' shade are dark; they end where their neighbours let expect it.
    shown = np.flatnonzero(length > 0.4 * np.median(length[np.abs(SEAM_U) < 0.5]))
    if not len(shown):
        return edges.upper
    last = (is_tooth.argmax(axis=0) + length - 1).clip(0, len(levels) - 1)
    share = np.interp(SEAM_U, SEAM_U[shown], median_filter(levels[last[shown], 0], 5))
    bottom = edges.upper + share * (edges.lower - edges.upper)
    bottom = np.minimum(bottom, np.maximum(edges.lower - 0.03, edges.upper))
    return np.asarray(np.convolve(np.pad(bottom, 2, mode="edge"), np.full(5, 0.2), "valid"))


def _along_arch(u: Floats, middle: float, unit: float) -> Floats:
    """Where along the teeth, from the midline in half mouths at rest; a turn squeezes one side."""
    side = np.where(u < middle, 1 + middle, 1 - middle)
    return np.asarray((u - middle) / np.clip(side, 0.4, 1.6) / unit, np.float32)


def _teeth(along: Floats, drop: Floats, colours: MouthColours) -> Floats:
    """The row of upper teeth.

    Args:
        along: (height, width) along the arch from the midline.
        drop: (height, width) how far beyond the row's biting edge, negative on the teeth.
        colours: Of the face.
    """
    borders = np.concatenate(([0.0], np.cumsum(_TOOTH_WIDTHS)))
    place = np.abs(along)
    tooth = np.clip(np.searchsorted(borders, place, side="right") - 1, 0, len(_TOOTH_WIDTHS) - 1)
    half = (borders[1:] - borders[:-1])[tooth] / 2
    across = np.abs(place - (borders[:-1][tooth] + half)) / half
    # Rounded corners, the teeth growing shorter to the sides.
    edge = drop + 0.03 * across**6 + np.array([0.0, 0.012, 0.0, 0.015, 0.03])[tooth]
    soft = 0.03
    opacity = np.clip(0.5 - edge / soft, 0, 1) * np.clip((borders[-1] - place) / 0.10, 0, 1)
    # A dark band between neighbours would read as missing teeth; a shaded one as their gap.
    gap = np.clip((across - 0.80) / 0.20, 0, 1) ** 2
    height = np.clip(-edge / 0.30, 0, 1)
    shade = (1 - 0.22 * gap) * (0.93 + 0.10 * np.sin(np.pi * np.clip(height * 1.4, 0, 1)))
    shade *= 1 - 0.55 * np.clip(place / borders[-1], 0, 1) ** 2
    shade *= 1 + colours.tilt * along
    image = colours.tooth * shade[..., None]
    return np.concatenate((image * opacity[..., None], opacity[..., None]), axis=-1).astype(
        np.float32
    )


def _upper_layer(
    u: Floats, v: Floats, colours: MouthColours, edges: LipEdges, unit: float, middle: float
) -> Floats:
    along = _along_arch(u, middle, unit)
    # Lips that are apart in the photo have left the place where they cover the teeth.
    rest = float(edges.upper[MIDDLE].mean()) + 0.35 * (0.0 if edges.closed else edges.gap)
    drop = (v - rest) / unit - 0.17 + 0.10 * along**2
    return _teeth(along, drop.astype(np.float32), colours)


def _lower_layer(
    u: Floats, v: Floats, colours: MouthColours, edges: LipEdges, unit: float, middle: float
) -> Floats:
    """The tongue, where it lies while the lips touch.

    Lower teeth are left out: what little the lip leaves of them reads as a grey band.
    """
    along = _along_arch(u, middle, unit)
    # Half-way between straight and the lip's own curve, or a grin would show no tongue.
    lip = np.interp(u, SEAM_U, edges.lower)
    rest = 0.5 * float(edges.lower[MIDDLE].mean()) + 0.5 * lip
    below = (v - rest) / unit
    # The tongue's back: a mound with a groove along its middle.
    distance = np.abs(along / 0.72) ** 2.5 + np.abs((below - 0.28) / 0.52) ** 2
    opacity = np.clip((1 - distance) / 0.30, 0, 1)
    shade = (0.72 + 0.28 * np.clip((below + 0.2) / 0.3, 0, 1)) * (
        1 - 0.15 * np.exp(-((along / 0.07) ** 2))
    )
    tongue = colours.tongue * shade[..., None] * opacity[..., None]
    return np.concatenate((tongue, opacity[..., None]), axis=-1).astype(np.float32)
