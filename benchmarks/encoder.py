"""What do x264's settings take, and give? Prints JSON.

Photos speak through facewarp, with the head moving and with it still; the frames, before they are
encoded, are compared with what each way to encode them makes of them, at three qualities: so many
more bytes it takes for the same PSNR, or SSIM, of the brightness as the plain preset takes.

    python3 run.py bench encoder [--sizes 512x768 ...] [--seconds S] [-o FILE]
"""

import argparse
import io
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.facewarp import FPS, SIZES, photo
from benchmarks.report import write
from contracts.lipsync import LipSyncOptions
from gpu_service.compose import compose
from gpu_service.data import FaceTrack, Frame, SpeechChunk, no_progress
from gpu_service.engines.facewarp.engine import FacewarpEngine
from gpu_service.faces.detect import find_face
from gpu_service.media.encode import QUALITY, SEARCH, WITHOUT_DELAY
from gpu_service.media.yuv import YuvConverter
from tests.media import Photo, babble

Luma = NDArray[np.uint8]
PLAIN: Final = {"preset": "veryfast", "crf": QUALITY}
STREAMING: Final = {**PLAIN, "tune": "zerolatency"}
WAYS: Final = {
    "fragments": {
        "plain": STREAMING,
        "superfast": {**STREAMING, "preset": "superfast"},
        "small search": {**STREAMING, **SEARCH},
        "chosen": {**STREAMING, **WITHOUT_DELAY},
    },
    "file": {
        "plain": PLAIN,
        "chosen": {**PLAIN, **SEARCH},
        "as fragments, but for the delay": {
            **PLAIN,
            "x264-params": WITHOUT_DELAY["x264-params"],
        },
    },
}
QUALITIES: Final = (-2.0, 0.0, 2.0)
"""Added to a way's own rate factor; sizes and qualities are told of the middle one."""
EVERY: Final = 4
"""One frame in so many is compared."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("-o", "--output", type=Path, help="also write the JSON there")
    options = parser.parse_args(arguments)
    found: dict[str, Any] = {}
    for name in options.sizes:
        for motion in ("natural", "still"):
            pictures = list(frames(name, motion, options.seconds))
            found[f"{name}, {motion}"] = {kind: compared(pictures, kind) for kind in WAYS}
    write({"settings": {"seconds": options.seconds, "ways": WAYS}, "clips": found}, options.output)
    return 0


def frames(name: str, motion: str, seconds: float) -> Iterator[Frame]:
    """What the engine shows."""
    picture = photo(SIZES[name])
    track = FaceTrack(Photo(picture), Fraction(FPS), [find_face(picture)])
    engine, options = FacewarpEngine(), LipSyncOptions.model_validate({"motion": motion})
    avatar = engine.prepare(track, options, no_progress)
    for patch in engine.render(avatar, [SpeechChunk(babble(seconds))], options):
        yield compose(picture, patch)


class Point(NamedTuple):
    """One way at one quality."""

    num_bytes: int
    cpu: float
    psnr: float
    ssim: float


def compared(pictures: list[Frame], kind: str) -> dict[str, Any]:
    """Each way against the plain one, all in turns."""
    points: dict[str, list[Point]] = {name: [] for name in WAYS[kind]}
    for added in QUALITIES:
        for name, way in WAYS[kind].items():
            points[name].append(point(pictures, {**way, "crf": str(float(way["crf"]) + added)}))
    plain = points["plain"]
    return {
        name: {
            "cpu_ms_a_frame": round(1000 * each[1].cpu / len(pictures), 2),
            "times_the_plain": round(sum(p.cpu for p in each) / sum(p.cpu for p in plain), 3),
            "kbit_a_second": round(each[1].num_bytes * 8 * FPS / len(pictures) / 1000),
            "psnr_db": round(each[1].psnr, 2),
            "ssim": round(each[1].ssim, 4),
            "bytes_at_equal_psnr": round(bytes_at(each, plain[1], by_psnr) / plain[1].num_bytes, 3),
            "bytes_at_equal_ssim": round(bytes_at(each, plain[1], by_ssim) / plain[1].num_bytes, 3),
        }
        for name, each in points.items()
    }


def by_psnr(each: Point) -> float:
    """Quality in decibels."""
    return each.psnr


def by_ssim(each: Point) -> float:
    """Quality on a scale on which the logarithm of the bytes is nearly straight."""
    return float(-np.log10(1 - each.ssim))


def bytes_at(points: list[Point], at: Point, quality: Callable[[Point], float]) -> float:
    """What the way would take for this quality: straight between, and beyond, the logarithms."""
    line = np.polyfit([quality(p) for p in points], np.log([p.num_bytes for p in points]), 1)
    return float(np.exp(np.polyval(line, quality(at))))


def point(pictures: list[Frame], options: dict[str, str]) -> Point:
    """Encode and compare."""
    file, cpu = io.BytesIO(), 0.0
    converter = YuvConverter()
    wanted: list[Luma] = []
    with av.open(file, "w", format="mp4") as output:
        stream = output.add_stream("libx264", rate=FPS, options=dict(options))
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt, stream.codec_context.gop_size = "yuv420p", 2 * FPS
        for index, pixels in enumerate(pictures):
            picture = converter.convert(pixels, None)
            picture.pts, picture.time_base = index, Fraction(1, FPS)
            if index % EVERY == 0:
                wanted.append(luma(picture))
            started = time.process_time()
            output.mux(stream.encode(picture))
            cpu += time.process_time() - started
        started = time.process_time()
        output.mux(stream.encode(None))
        cpu += time.process_time() - started
    with av.open(io.BytesIO(file.getvalue())) as video:
        shown = [luma(each) for each in islice(video.decode(video=0), 0, None, EVERY)]
    pairs = list(zip(wanted, shown, strict=True))
    error = np.mean([np.square(one.astype(np.float32) - two).mean() for one, two in pairs])
    ssim = np.mean([likeness(one, two) for one, two in pairs])
    return Point(len(file.getvalue()), cpu, float(10 * np.log10(255**2 / error)), float(ssim))


def luma(picture: av.VideoFrame) -> Luma:
    """(height, width) brightness."""
    plane = picture.planes[0]
    rows: Luma = np.frombuffer(memoryview(plane), np.uint8)
    return rows.reshape(-1, plane.line_size)[: plane.height, : plane.width].copy()


def likeness(one: Luma, two: Luma) -> float:
    """Mean structural similarity (Wang et al. 2004, equation 13), in a window of 1.5 pixels."""
    a, b = one.astype(np.float32), two.astype(np.float32)
    mean_a, mean_b, square_a, square_b, product = (
        cv2.GaussianBlur(each, (11, 11), 1.5) for each in (a, b, a * a, b * b, a * b)
    )
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    above = (2 * mean_a * mean_b + c1) * (2 * (product - mean_a * mean_b) + c2)
    spread = square_a - mean_a**2 + square_b - mean_b**2
    return float((above / ((mean_a**2 + mean_b**2 + c1) * (spread + c2))).mean())


if __name__ == "__main__":
    sys.exit(main())
