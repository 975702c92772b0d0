"""How much does the box that is pasted tremble? Prints JSON.

`raw` is MediaPipe's face mesh alone, frame by frame; `none`, `centred` and `release` are the values
of the option `smoothing`. Films made from samples/portrait.jpg know where the face truly is; of a
film given as an argument only the trembling is told: the root mean square of the change of speed
of the box's edges, in pixels, which an even motion does not have.

    python3 run.py bench jitter [VIDEO] [-o benchmarks/results/jitter.json]
"""

import argparse
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.report import write
from contracts.lipsync import LipSyncOptions
from gpu_service.data import Face, FaceSource, FaceTrack, Frame, no_progress
from gpu_service.engines.wav2lip.boxes import face_boxes
from gpu_service.faces.detect import SURE, bounding_box
from gpu_service.faces.landmarks import face_mesh
from gpu_service.faces.track import track_faces
from gpu_service.media.decode import decode_face
from tests.media import Film, portrait

FPS: Final = Fraction(25)
NUM_FRAMES: Final = 100
NOISE: Final = 6.0
"""Standard deviation of the camera's noise, in grey levels: a dim room."""
Places = NDArray[np.float64]
"""(num_frames, 2) how far the face has moved, in pixels."""


def still(moments: NDArray[np.float64]) -> Places:
    """A face that does not move."""
    return np.zeros((len(moments), 2))


def pan(moments: NDArray[np.float64]) -> Places:
    """A face that moves evenly."""
    return np.stack((40 * moments, 15 * moments), axis=1)


def sway(moments: NDArray[np.float64]) -> Places:
    """A head that sways as speakers do: 12 pixels to and fro in 2.5 seconds."""
    return np.stack((12 * np.sin(0.8 * np.pi * moments), 4 * np.sin(1.7 * moments)), axis=1)


MOTIONS: Final[dict[str, Callable[[NDArray[np.float64]], Places]]] = {
    "still": still,
    "pan": pan,
    "sway": sway,
}


def noisy_film(places: Places) -> Film:
    """The portrait, moved and filmed by a camera that adds noise."""
    picture, noise = portrait(), np.random.default_rng(0)
    frames = []
    for x, y in places:
        shift = np.array([[1, 0, x], [0, 1, y]])
        moved = cv2.warpAffine(
            picture,
            shift,
            picture.shape[1::-1],
            flags=cv2.INTER_CUBIC,
            borderMode=cv2.BORDER_REPLICATE,
        )
        grainy = moved + noise.normal(0, NOISE, moved.shape)
        frames.append(np.clip(np.rint(grainy), 0, 255).astype(np.uint8))
    return Film(*frames)


def mesh_alone(frames: Iterator[Frame]) -> list[Face | None]:
    """What MediaPipe says of each frame for itself."""
    faces: list[Face | None] = []
    for frame in frames:
        found = face_mesh(SURE).find(frame)
        best = max(found, key=lambda points: np.ptp(points[:, 0]), default=None)
        size = (frame.shape[1], frame.shape[0])
        faces.append(None if best is None else Face(bounding_box(best, *size), best, 0.0))
    return faces


def boxes_of(track: FaceTrack, smoothing: str) -> NDArray[np.float64]:
    """(num_frames, 4) edges of the boxes, NaN where there is none."""
    options = LipSyncOptions.model_validate({"smoothing": smoothing, "pads": "0,0,0,0"})
    boxes = face_boxes(track, options)
    return np.array([(np.nan,) * 4 if box is None else box for box in boxes], np.float64)


def variants(source: FaceSource, fps: Fraction, num_frames: int) -> dict[str, NDArray[np.float64]]:
    """The boxes of each way of steadying them."""
    made = {}
    for smoothing in ("none", "centred", "release"):
        options = LipSyncOptions.model_validate({"smoothing": smoothing})
        track = track_faces(source, fps, options, no_progress, num_frames)
        made[smoothing] = boxes_of(track, smoothing)
    alone = mesh_alone(islice(source.frames(), num_frames))
    return {"raw": boxes_of(dataclasses.replace(track, faces=alone), "none"), **made}


def trembling(boxes: NDArray[np.float64]) -> float:
    """Root mean square of the change of speed of the boxes' edges, in pixels."""
    return round(float(np.sqrt(np.nanmean(np.square(np.diff(boxes, n=2, axis=0))))), 3)


def beside_the_truth(boxes: NDArray[np.float64], truth: NDArray[np.float64]) -> dict[str, float]:
    """How far the boxes are from where the face is, and by how many frames they come late."""
    error = boxes - truth
    speed = np.gradient(truth, axis=0)
    late = -np.nansum(error * speed) / max(float(np.square(speed).sum()), 1e-9)
    return {
        "spread_px": round(float(np.nanstd(error, axis=0).mean()), 3),
        "off_px": round(float(np.sqrt(np.nanmean(np.square(error)))), 3),
        "late_frames": round(float(late), 2),
    }


def measure(video: Path | None) -> dict[str, object]:
    """Everything that is measured, by film and by variant."""
    moments = np.arange(NUM_FRAMES) / float(FPS)
    films: dict[str, object] = {}
    for name, motion in MOTIONS.items():
        places = motion(moments)
        found = variants(noisy_film(places), FPS, NUM_FRAMES)
        path = np.tile(places, 2)
        # A box holds more than the face's edges; by how much, an unsmoothed one tells.
        truth = path + np.nanmean(found["none"] - path, axis=0)
        films[name] = {
            variant: {"trembling_px": trembling(boxes), **beside_the_truth(boxes, truth)}
            for variant, boxes in found.items()
        }
    if video:
        source = decode_face(video.read_bytes(), 1080)
        found = variants(source, source.fps or FPS, 10 * NUM_FRAMES)
        width = float(np.nanmedian(found["none"][:, 2] - found["none"][:, 0]))
        films["given film"] = {
            "frames": len(found["none"]),
            "face_px": width,
            **{name: {"trembling_px": trembling(boxes)} for name, boxes in found.items()},
        }
    return films


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("video", type=Path, nargs="?", help="a film of a face")
    parser.add_argument("-o", "--output", type=Path, help="also write the JSON there")
    options = parser.parse_args(arguments)
    settings = {"frames": NUM_FRAMES, "fps": float(FPS), "noise_grey_levels": NOISE}
    write({"settings": settings, "films": measure(options.video)}, options.output)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
