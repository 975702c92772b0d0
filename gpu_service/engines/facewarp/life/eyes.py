"""Lids that close over the eyes of a photo."""

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from gpu_service.data import Image, Landmarks
from gpu_service.engines.facewarp.life.lid_skin import LUMA, continued_skin, grain, shaded
from gpu_service.engines.facewarp.warp.fields import Grid
from gpu_service.engines.facewarp.warp.geometry import Floats, MouthFrame


class _Points(NamedTuple):
    """Landmarks of one eye, along it from left to right."""

    upper: tuple[int, ...]
    lower: tuple[int, ...]
    brow: tuple[int, ...]
    """The lower edge of the brow."""
    beneath: tuple[int, ...]


_EYES = (
    _Points(
        (33, 246, 161, 160, 159, 158, 157, 173, 133),
        (33, 7, 163, 144, 145, 153, 154, 155, 133),
        (46, 53, 52, 65, 55),
        (23, 24, 22, 230, 229, 231, 119, 120),
    ),
    _Points(
        (362, 398, 384, 385, 386, 387, 388, 466, 263),
        (362, 382, 381, 380, 374, 373, 390, 249, 263),
        (276, 283, 282, 295, 285),
        (253, 254, 252, 450, 449, 451, 348, 349),
    ),
)
_CHEEKS = (50, 205, 280, 425)
_NARROWEST = 12.0
"""Pixels: smaller eyes show no lids."""
_NARROWED = 0.45
"""An eye this much narrower than the other is turned away and closes unseen."""
_SHUT_ALREADY = 0.22
"""An opening below this, in half eyes, is shut already."""
_HIDDEN = 0.5
"""Skin beneath an eye so much darker than the cheeks lies behind dark glasses."""
_MEET = 0.86
"""Where the lids meet, from the upper (0) to the lower edge (1) of the open eye."""
_RIM, _WATERLINE = 0.10, 0.09
"""How far above and below the open eye the lids' edges reach, in half eyes."""
_LASHES_UP, _LASHES_DOWN, _LASHES_OUT = 0.5, 0.15, 0.15
"""How far lashes and painted lines that go with the lids reach beyond the eye, in half eyes."""
_SIDE, _ABOVE, _BENEATH = 1.35, 0.75, 0.6
"""How far the patch goes from the middle and beyond the edges of an eye, in half eyes."""
TURNED = 0.16
"""How far a head that turns most takes a corner of the patch from where it takes its middle, in
half eyes; the patch has room for it on every side."""
_LARGEST = 28.0
"""Half an eye, in pixels, beyond which its skin is made on a smaller picture."""
_LASH, _ROOT = 0.15, 0.14
"""How sure it is that something is a lash, and how near to the eye its root lies, in half eyes."""
_BLACK = 0.6
"""So dark against skin are rims of glasses and hair."""
_LINE = 0.055
"""How wide the line of the lashes is, in half eyes."""


@dataclass(frozen=True)
class Eye:
    """One eye that can be shut."""

    left: int
    top: int
    """Of the patch, in pixels of the canvas."""
    half_eye: float
    """Pixels."""
    pixels: Image
    """The patch with the open eye."""
    skin: Floats
    """(height, width, 3) the patch with skin where the eye and its lashes are."""
    lash: Floats
    """(3,) the colour of the lashes."""
    u: Floats
    """(height, width) along the eye, from corner (-1) to corner (1)."""
    v: Floats
    """Likewise down the eye, in half eyes."""
    upper: Floats
    lower: Floats
    """(height, width) v of the open eye's edges at u."""
    inside: Floats
    """(height, width) 1 where a lid may be seen, falling to 0 around."""
    strands: Floats
    """(height, width) how dense the lashes are at u, in [0, 1]."""

    def shut(self, share: float) -> Image:
        """The patch with its lids closed to this share, in [0, 1]."""
        open_height = self.lower - self.upper
        edge = self.upper + (share * _MEET) * open_height
        rising = self.lower - share * (1 - _MEET) * open_height
        soft = 0.7 / self.half_eye
        lid = np.clip((edge - self.v) / soft + 0.5, 0, 1)
        lid += np.clip((self.v - rising) / soft + 0.5, 0, 1) * share
        # The open eye's own lashes go with the lid, a little after it has begun to move.
        fading = np.where(self.v < self.upper, min(1.0, share / 0.25), min(1.0, share / 0.1))
        cover = (np.clip(lid, 0, 1) * self.inside * fading)[..., None]
        below = np.clip((self.v - edge) / 0.16, 0, 1)
        eye = self.pixels * (1 - 0.3 * min(1.0, 4 * share) * (1 - below) * self.inside)[..., None]
        mixed = eye + (self._lid(share, edge) - eye) * cover
        mixed += (self.lash - mixed) * (self._lashes(edge) * min(1.0, share / 0.2))[..., None]
        return np.rint(np.clip(mixed, 0, 255)).astype(np.uint8)

    def _lid(self, share: float, edge: Floats) -> Floats:
        """The lid's skin, rounded by the eyeball under it, with the crease that it leaves."""
        middle = np.clip(1 - self.u**2, 0, 1)
        along = np.clip((self.v - self.upper) / np.maximum(edge - self.upper, 0.05), 0, 1)
        light = 0.05 * middle * np.sin(np.pi * along) - 0.05 * (1 - middle)
        light -= 0.09 * middle * np.exp(-(((self.v - self.upper + 0.08) / 0.07) ** 2))
        return np.asarray(self.skin * (1 + share * light)[..., None], np.float32)

    def _lashes(self, edge: Floats) -> Floats:
        """(height, width) how much the lashes cover: a dark line, and hairs downwards from it."""
        away = self.v - edge
        # On small faces the line is thinner than a pixel and so fainter.
        width, thin = max(_LINE, 0.75 / self.half_eye), min(1.0, _LINE * self.half_eye / 0.6)
        line = 0.75 * thin * np.exp(-((away / width) ** 2))
        hairs = np.clip(1 - away / 0.20, 0, 1) * np.clip(away / 0.03 + 1, 0, 1)
        taper = np.clip((1.04 - np.abs(self.u)) / 0.25, 0, 1)
        return np.asarray(np.maximum(line, 0.45 * hairs * self.strands) * taper, np.float32)


def build_eyes(source: Image, landmarks: Landmarks, canvas: Grid) -> tuple[Eye, ...]:
    """The eyes of a face that can be shut; none where they are shut, hidden or too small.

    Args:
        source: The picture over the canvas.
        landmarks: In the picture.
        canvas: Where the source lies in it.
    """
    points = landmarks[:, :2] - np.array([canvas.x, canvas.y], np.float32)
    frames = [_frame(points, eye) for eye in _EYES]
    widest = max(frame.half_mouth for frame in frames)
    seen = [
        (eye, frame)
        for eye, frame in zip(_EYES, frames, strict=True)
        if frame.half_mouth >= _NARROWED * widest
    ]
    for eye, frame in seen:
        opening = frame.local(points[list(eye.lower)]) - frame.local(points[list(eye.upper)])
        if 2 * frame.half_mouth < _NARROWEST or opening[3:6, 1].max() < _SHUT_ALREADY:
            return ()
        if _brightness(source, points, eye.beneath) < _HIDDEN * _brightness(
            source, points, _CHEEKS
        ):
            return ()
    return tuple(_eye(source, points, eye, frame, canvas.cell) for eye, frame in seen)


def _frame(points: Floats, eye: _Points) -> MouthFrame:
    """The frame of an eye, which has corners as a mouth has."""
    left, right = points[eye.upper[0]], points[eye.upper[-1]]
    half = max(float(np.linalg.norm(right - left)) / 2, 1.0)
    return MouthFrame((left + right) / 2, (right - left) / (2 * half), half)


def _brightness(source: Image, points: Floats, index: tuple[int, ...]) -> float:
    at = np.rint(points[list(index)]).astype(int)
    x, y = at[:, 0].clip(0, source.shape[1] - 1), at[:, 1].clip(0, source.shape[0] - 1)
    return float(np.median(source[y, x] @ LUMA))


def _eye(source: Image, points: Floats, eye: _Points, frame: MouthFrame, cell: int) -> Eye:
    half = frame.half_mouth
    upper, lower = (frame.local(points[list(index)]) for index in (eye.upper, eye.lower))
    left, top, right, bottom = _patch(
        source,
        frame,
        float(upper[:, 1].min()) - _ABOVE,
        float(lower[:, 1].max()) + _BENEATH,
        4 * cell + round(2 * TURNED * half),
    )
    pixels = np.ascontiguousarray(source[top:bottom, left:right])
    x, y = np.arange(left, right, dtype=np.float32), np.arange(top, bottom, dtype=np.float32)
    u, v = np.moveaxis(frame.local(np.stack(np.meshgrid(x, y), axis=-1)), -1, 0)
    high, low = _edge(u, upper), _edge(u, lower)
    low = np.maximum(low, high)
    # 0 on the rim of the eye, and negative within.
    beyond = np.maximum(high - _RIM * np.clip(1.2 - u**2, 0, 1) - v, v - low - _WATERLINE)
    beyond = np.maximum(beyond, (np.abs(u) - 1.04) * 0.8)
    hole = beyond < 0.04
    skin = _continued(pixels, hole, half)
    brow = _edge(u, frame.local(points[list(eye.brow)]))
    from_brow = np.clip((v - brow) / np.maximum(high - brow, 0.05), 0, 1)
    skin = shaded(skin, pixels, from_brow, high - v, low - high, u)
    lashes = _own_lashes(pixels, skin, u, v - low, high - v, high - brow)
    inside = np.maximum(np.clip(-beyond / max(0.06, 1.0 / half) + 0.5, 0, 1), lashes)
    return Eye(
        left=left,
        top=top,
        half_eye=half,
        pixels=pixels,
        skin=skin + grain(pixels, hole | (lashes > 0.05), v, low, _WATERLINE + 0.03),
        lash=_lash_colour(pixels, u, v - high),
        u=u,
        v=v,
        upper=high,
        lower=low,
        inside=inside.astype(np.float32),
        strands=_strands(u, half),
    )


def _continued(pixels: Image, hole: NDArray[np.bool_], half: float) -> Floats:
    """What `continued_skin` gives, which is so smooth that it may be made on a smaller picture."""
    height, width = hole.shape
    share = min(1.0, _LARGEST / half)
    size = max(round(width * share), 8), max(round(height * share), 8)
    small = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)
    covered = cv2.resize(hole.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0
    skin = continued_skin(small, covered, share * half)
    return np.asarray(cv2.resize(skin, (width, height), interpolation=cv2.INTER_CUBIC), np.float32)


def _edge(u: Floats, local: Floats) -> Floats:
    order = np.argsort(local[:, 0])
    return np.asarray(np.interp(u, local[order, 0], local[order, 1]), np.float32)


def _patch(
    source: Image, frame: MouthFrame, top_v: float, bottom_v: float, margin: int
) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of the pixels around an eye, within the source."""
    corners = np.array([(u, v) for u in (-_SIDE, _SIDE) for v in (top_v, bottom_v)], np.float32)
    around = frame.pixels(corners)
    size = np.array([source.shape[1], source.shape[0]])
    left, top = np.clip(np.floor(around.min(axis=0) - margin).astype(int), 0, size - 8).tolist()
    high = np.ceil(around.max(axis=0) + margin).astype(int)
    right, bottom = high.clip((left + 8, top + 8), size).tolist()
    return int(left), int(top), int(right), int(bottom)


def _own_lashes(
    pixels: Image, skin: Floats, u: Floats, below: Floats, above: Floats, to_brow: Floats
) -> Floats:
    """(height, width) where around the eye something darker than skin goes with its lid.

    Args:
        pixels: The patch.
        skin: The patch as if all were skin.
        u: Along the eye.
        below: How far below the open eye, in half eyes.
        above: How far above it.
        to_brow: How far above it the brow is.
    """

    def within(beyond: Floats) -> Floats:
        return np.asarray(np.clip(-beyond / 0.12, 0, 1), np.float32)

    height = np.minimum(_LASHES_UP, 0.6 * np.maximum(to_brow, 0))
    height *= np.clip((1 + _LASHES_OUT - np.abs(u)) / 0.3, 0, 1)
    near = within(above - height) * within(below - _LASHES_DOWN)
    near *= within(np.abs(u) - 1 - _LASHES_OUT)
    ratio = (pixels @ LUMA) / np.maximum(skin @ LUMA, 1.0)
    found = (near * np.clip((0.95 - ratio) / 0.10, 0, 1)).astype(np.float32)
    at_root = (above < _ROOT) & (below < _ROOT) & (np.abs(u) < 1 + _ROOT)
    # Lashes grow from the eye. The crease of the lid does not, nor what passes over it: the rim of
    # glasses, a strand of hair.
    found[_apart(found > _LASH, at_root)] = 0
    passing = _apart(ratio < _BLACK, at_root) & (above > 0)
    found[cv2.dilate(passing.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0] = 0
    spread = cv2.dilate(found, np.ones((3, 3), np.uint8))
    return np.asarray(cv2.GaussianBlur(spread, (0, 0), 0.7), np.float32)


def _apart(marked: NDArray[np.bool_], root: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(height, width) what is marked and does not hang together with the root."""
    _, labels = cv2.connectedComponents(marked.astype(np.uint8))
    return marked & ~np.isin(labels, np.unique(labels[root & marked]))


def _lash_colour(pixels: Image, u: Floats, below_upper: Floats) -> Floats:
    """(3,) of the darkest where the lashes of the open eye are."""
    zone = (np.abs(below_upper + 0.04) < 0.12) & (np.abs(u) < 0.9)
    colours = pixels[zone].astype(np.float32) if zone.any() else np.zeros((1, 3), np.float32)
    luma = colours @ LUMA
    return np.asarray(0.85 * colours[luma <= np.percentile(luma, 8)].mean(axis=0), np.float32)


def _strands(u: Floats, half_eye: float) -> Floats:
    """Lashes at random, as many as the pixels can show."""
    count = int(np.clip(1.6 * half_eye, 16, 120))
    dense = np.random.default_rng(count).random(count + 1)
    place = (np.clip(u, -1, 1) + 1) / 2 * count
    return np.interp(place, np.arange(count + 1), dense).astype(np.float32)
