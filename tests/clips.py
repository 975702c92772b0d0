"""Videos that play in browsers: in fragments, as a GPU host sends them, and whole."""

import tempfile
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import NamedTuple

from gpu_service.media.encode import Encoder, Fragment
from tests.media import numbered, recorded, tone

FPS = 25


class Clip(NamedTuple):
    """One video in both forms."""

    init: bytes
    fragments: tuple[bytes, ...]
    """About 0.2 s each."""
    file: bytes
    """The finished MP4."""

    def until(self, seconds: float) -> tuple[bytes, ...]:
        """The init segment and so much of the video, at most."""
        return (self.init, *self.fragments[: int(seconds * 5)])

    def after(self, seconds: float) -> tuple[bytes, ...]:
        """What follows."""
        return self.fragments[int(seconds * 5) :]


@cache
def clip(seconds: float, first: int = 0, side: int = 64) -> Clip:
    """Frames that say their number, modulo 256, with a tone.

    Args:
        seconds: How long it is.
        first: Number of the first frame.
        side: Width and height, in pixels.
    """
    init, *fragments = (fragment.data for fragment in _encoded(None, seconds, first, side))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "video.mp4"
        _encoded(file, seconds, first, side)
        return Clip(init, tuple(fragments), file.read_bytes())


def _encoded(file: Path | None, seconds: float, first: int, side: int) -> list[Fragment]:
    sound = recorded(tone(seconds), 48_000)
    encoder = Encoder(file, width=side, height=side, fps=Fraction(FPS), sound=sound, label="test")
    fragments = []
    for index in range(round(seconds * FPS)):
        fragments += encoder.write(numbered((first + index) % 256, side))
    return fragments + encoder.finish()
