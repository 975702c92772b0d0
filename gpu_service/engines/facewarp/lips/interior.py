"""The inside of the mouth: the photo's own teeth where it shows them, else teeth that are drawn."""

from dataclasses import dataclass

import cv2
import numpy as np

from gpu_service.data import Image
from gpu_service.engines.facewarp.lips.bases import UPPER_SHARE
from gpu_service.engines.facewarp.lips.colours import MouthColours, Texture
from gpu_service.engines.facewarp.lips.photo_mouth import photo_inside, photo_teeth
from gpu_service.engines.facewarp.lips.teeth import (
    SOFT,
    along_arch,
    lower_teeth,
    over,
    tongue,
    upper_teeth,
)
from gpu_service.engines.facewarp.warp.geometry import (
    MIDDLE,
    NO_MAP,
    SEAM_U,
    Floats,
    LipEdges,
    MouthFrame,
)

_WIDE_OPEN = 0.5
"""From this gap on, in half mouths, the photo shows the mouth's inside well enough to keep it."""
_FINE = 70
"""Mouths narrower than this, in half mouths of pixels, are drawn larger and shrunk."""


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
    """(height, width, 4) what moves with the jaw: the tongue and the lower teeth."""
    shadow: float
    """How deep the lips' shadow falls on the upper teeth; a photo's teeth bring their own."""
    half_mouth: float

    def paint(
        self,
        corner: tuple[int, int],
        above: Floats,
        below: Floats,
        jaw: Floats,
        light: float,
        head: Floats | None = None,
    ) -> Floats:
        """Draw a part of the mouth area.

        Args:
            corner: First row and first column of the part.
            above: (height, width) pixels to the upper lip's edge, positive inside the mouth.
            below: (height, width) pixels to the lower lip's edge, positive inside the mouth.
            jaw: (2,) how far the jaw has moved in the still head, in pixels.
            light: How much of the light falls in, in [0, 1]; rounded lips stand before it.
            head: (height, width, 2) where the part's pixels lie in the still portrait, relative to
                them, in pixels; None for a still head.

        Returns:
            (height, width, 3) BGR in 0..255.
        """
        upper, lower = self._layers(corner, above.shape, jaw, head)
        above, below = above / self.half_mouth, below / self.half_mouth
        floor = 0.7 + 0.7 * _ramp(1 - below / 0.5)
        depth = light * (0.35 + 0.65 * _ramp(above / 0.40))
        teeth = light * (1 - self.shadow * (1 - _ramp(above / 0.15)) ** 2)
        # The lower lip shades the teeth behind it; in grey pictures nothing else tells them apart.
        shade = 0.45 + 0.55 * _ramp(below / 0.09)
        # Little light falls through lips that hardly part, and what does has their colour.
        shade *= 0.55 + 0.45 * _ramp((above + below) / 0.14)
        # What teeth lose of the light they keep as the mouth's own dark, and the light that reaches
        # them there is red; grey teeth look painted.
        tint = 1.2 * (1 - light) * (1 - self.glow / max(float(self.glow.max()), 1.0))
        behind = (1 - lower[3]) * floor * (1 - upper[3]) + 1.5 * (1 - teeth) * upper[3]
        depth *= 1 - upper[3]
        planes = []
        # Plane by plane: numpy is slow where it must spread one value over three channels.
        for channel in range(3):
            plane = behind * self.cavity[channel]
            plane += lower[channel] * depth
            plane += upper[channel] * teeth * np.float32(1 - tint[channel])
            plane -= self.glow[channel]
            plane *= shade
            plane += self.glow[channel]
            planes.append(plane)
        return np.asarray(cv2.merge(planes), np.float32)

    def _layers(
        self, corner: tuple[int, int], size: tuple[int, ...], jaw: Floats, head: Floats | None
    ) -> tuple[list[Floats], list[Floats]]:
        """Four planes each: what is on the skull, and what is on the jaw."""
        top, left = corner
        height, width = size
        if head is None:
            shift = np.array([[1, 0, jaw[0] - left], [0, 1, jaw[1] - top]], np.float32)
            lower = cv2.warpAffine(self.lower, shift, (width, height), flags=cv2.INTER_LINEAR)
            upper = self.upper[top : top + height, left : left + width]
        else:
            x, y = np.meshgrid(
                np.arange(left, left + width, dtype=np.float32),
                np.arange(top, top + height, dtype=np.float32),
            )
            skull = np.stack((x, y), axis=-1) + head
            upper = np.asarray(cv2.remap(self.upper, skull, NO_MAP, cv2.INTER_LINEAR), np.float32)
            lower = cv2.remap(self.lower, skull - jaw, NO_MAP, cv2.INTER_LINEAR)
        return _planes(upper), _planes(np.asarray(lower, np.float32))


def _planes(layer: Floats) -> list[Floats]:
    return [np.asarray(plane, np.float32) for plane in cv2.split(layer)]


def _ramp(value: Floats) -> Floats:
    return np.asarray(np.clip(value, 0, 1), np.float32)


@dataclass(frozen=True)
class Looks:
    """What drawn parts are made to fit."""

    colours: MouthColours
    texture: Texture
    middle: float
    """u of the teeth's midline."""
    unit: float
    """Half a mouth at rest, in half mouths of the picture."""
    grown: float
    """How much of an adult's teeth the face has, in [0, 1]."""


def build_interior(
    pixels: Image, mouth: MouthFrame, edges: LipEdges, looks: Looks, u: Floats, v: Floats
) -> Interior:
    """The layers of one portrait.

    Args:
        pixels: The region.
        mouth: In the region.
        edges: Of the lips in the source picture.
        looks: Of the face.
        u: (height, width) of the mouth area's pixels.
        v: Likewise.
    """
    colours = looks.colours
    upper, lower = _drawn(mouth, edges, looks, u, v)
    shadow = 0.55
    if not edges.closed:
        photo = photo_teeth(pixels, mouth, edges, colours, looks.unit, u, v)
        if photo is not None:
            upper, shadow = photo, 0.25
        elif edges.gap > _WIDE_OPEN:
            upper = over(upper, photo_inside(pixels, mouth, edges, u, v))
    return Interior(colours.cavity, 0.5 * colours.tongue, upper, lower, shadow, mouth.half_mouth)


def _drawn(
    mouth: MouthFrame, edges: LipEdges, looks: Looks, u: Floats, v: Floats
) -> tuple[Floats, Floats]:
    """The layers on the skull and on the jaw, as fine as the photo is."""
    height, width = u.shape
    finer = max(1, round(_FINE / mouth.half_mouth + 0.4))
    size = (width * finer, height * finer)
    u, v = (np.asarray(cv2.resize(part, size), np.float32) for part in (u, v))
    along = along_arch(u, looks.middle, looks.unit)
    # Lips that are apart in the photo have left the place where they cover the teeth.
    parted = 0.0 if edges.closed else UPPER_SHARE * edges.gap - edges.lift
    upper_rest = float(edges.upper[MIDDLE].mean()) + parted
    # Half-way between straight and the lip's own curve, or a grin would show no tongue.
    lip = np.interp(u, SEAM_U, edges.lower)
    lower_rest = 0.5 * float(edges.lower[MIDDLE].mean()) + 0.5 * lip
    below = (v - lower_rest) / looks.unit
    upper = upper_teeth(along, (v - upper_rest) / looks.unit, looks.colours, looks.grown)
    lower = over(
        lower_teeth(along, below, looks.colours, looks.grown), tongue(along, below, looks.colours)
    )
    upper, lower = (
        _as_fine(
            np.asarray(cv2.resize(part, (width, height), interpolation=cv2.INTER_AREA), np.float32),
            looks.texture,
            SOFT * mouth.half_mouth / 2,
        )
        for part in (upper, lower)
    )
    return upper, lower


def _as_fine(layer: Floats, texture: Texture, own: float) -> Floats:
    """A drawn layer with the photo's blur and grain."""
    missing = texture.blur**2 - own**2
    if missing > 0.1:
        layer = np.asarray(cv2.GaussianBlur(layer, (0, 0), missing**0.5), np.float32)
    noise = np.random.default_rng(0).standard_normal(layer.shape[:2]).astype(np.float32)
    if texture.blur > 0.5:
        noise = np.asarray(cv2.GaussianBlur(noise, (0, 0), 0.6), np.float32)
        noise /= max(float(noise.std()), 1e-6)
    # The same grain in all channels: greyscale stays grey. In the dark there is less of it, and
    # part of what skin has are its pores.
    grained = (
        layer[..., :3]
        + (
            0.7
            * texture.grain
            * noise
            * np.sqrt(np.clip(layer[..., 1] / 255, 0, 1))
            * layer[..., 3]
        )[..., None]
    )
    return np.concatenate((np.clip(grained, 0, 255), layer[..., 3:]), axis=-1).astype(np.float32)
