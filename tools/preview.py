"""Turn a video into a small animated WebP for README.md: `python -m tools.preview IN.mp4 OUT.webp`.

Unlike the rest of this package, it needs the default set.
"""

import sys

import av
from PIL import Image

WIDTH = 512
EVERY = 2
"""Of 25 frames a second, how many to step by."""


def preview(source: str, target: str) -> None:
    """Write the animation; it plays for ever."""
    with av.open(source) as container:
        rate = container.streams.video[0].average_rate
        frames = [
            Image.fromarray(frame.to_ndarray(width=WIDTH, height=_height(frame), format="rgb24"))
            for index, frame in enumerate(container.decode(video=0))
            if index % EVERY == 0
        ]
    frames[0].save(
        target,
        save_all=True,
        append_images=frames[1:],
        duration=round(1000 * EVERY / rate) if rate else 80,
        loop=0,
        quality=70,
        method=6,
    )


def _height(frame: av.VideoFrame) -> int:
    return round(WIDTH * frame.height / frame.width)


if __name__ == "__main__":
    preview(*sys.argv[1:3])
