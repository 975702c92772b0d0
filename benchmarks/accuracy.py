"""Does facewarp draw what it is told, and leave the rest of the picture alone? Prints JSON.

Each portrait says samples/speech.flac, and the same landmarks that placed its mouth measure what
was drawn: this shows that the renderer obeys, not that lips fit the speech. Without arguments the
portraits are samples/portrait.jpg and views of it.

    python3 run.py bench accuracy [PICTURE ...] [-o benchmarks/results/accuracy.json] [--summary]
"""

import argparse
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.report import write
from contracts.errors import LipSyncError
from contracts.lipsync import LipSyncOptions
from gpu_service.compose import compose
from gpu_service.data import Face, FacePatch, FaceTrack, Frame, Landmarks, SpeechChunk, no_progress
from gpu_service.engines.facewarp.engine import FacewarpAvatar, FacewarpEngine
from gpu_service.engines.facewarp.mouth import mouth_shapes
from gpu_service.engines.facewarp.shape import REST, MouthShape
from gpu_service.faces.detect import face_width, follow
from gpu_service.faces.opening import mouth_opening
from gpu_service.faces.track import track_faces
from gpu_service.media.decode import decode_face, decode_sound, speech_chunks
from tests.media import SAMPLES, portrait, saved_frame, scaled, silence, turned

FPS: Final = Fraction(25)
MAX_HEIGHT: Final = 1080
EVERY: Final = 3
"""Of the speech's frames, each so many-th is measured."""
SPEECH_SECONDS: Final = 6
SWEEP_STEPS: Final = 11
FLICKER_STEPS: Final = 51
SILENT_SECONDS: Final = 4.0
CLOSURE: Final = MouthShape(0.0, 0.0, 0.0, 1.0, 0.0)
BESIDE: Final = 0.25
"""From so many face widths off the face's outline on, jaw and skin are said not to move."""
FAR: Final = 0.6
"""From so many face widths off the face's outline on, the head's motion is said to end."""
HALF_OPEN: Final = MouthShape(0.5, 0.0, 0.0, 0.0, 0.0)
WIDE_OPEN: Final = MouthShape(1.0, 0.0, 0.0, 0.0, 0.0)
_CORNERS: Final = (61, 291)
_INNER_UPPER, _INNER_LOWER = (13, 82, 312), (14, 87, 317)
_LIPS: Final = (
    61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 375, 321, 405, 314, 17, 84, 181, 91, 146,
)  # fmt: skip
# Better the smaller, unlike every other figure.
_SMALL_IS_GOOD: Final = (
    "closure_gap", "rest_gap", "silence_movement", "silence_natural_movement", "constant_change",
    "sweep_step", "lost_frames",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Subject:
    """One portrait, ready to be drawn and to be compared with."""

    picture: Frame
    face: Face
    track: FaceTrack
    avatar: FacewarpAvatar

    def drawn(self, shape: MouthShape) -> Frame:
        """The picture with that mouth and the head at rest: the one place that knows how."""
        renderer = self.avatar.renderer
        return compose(self.picture, FacePatch(0, renderer.box, renderer.render(shape)))

    def spoken(self, speech: Sequence[SpeechChunk], motion: str) -> Iterator[Frame]:
        """The frames of a speech, as the engine makes them."""
        options = LipSyncOptions.model_validate({"motion": motion})
        engine = FacewarpEngine()
        avatar = engine.prepare(self.track, options, no_progress)
        for patch in engine.render(avatar, speech, options):
            yield compose(self.picture, patch)

    def measured(self, frame: Frame) -> Landmarks | None:
        """The landmarks of the face in a frame that was drawn."""
        found = follow(frame, self.face)
        return None if found is None else found.landmarks


def subject(data: bytes) -> Subject:
    """Find the face of a picture and prepare it."""
    source = decode_face(data, MAX_HEIGHT)
    options = LipSyncOptions.model_validate({"motion": "still"})
    track = track_faces(source, FPS, options, no_progress)
    avatar = FacewarpEngine().prepare(track, options, no_progress)
    # A photo without a face was refused before.
    faces = [face for face in track.faces if face is not None]
    return Subject(next(source.frames()), faces[0], track, avatar)


def views() -> dict[str, bytes]:
    """The portrait in samples/, and what else people send, made from it."""
    face = portrait()
    noise = np.random.default_rng(0).normal(0, 6, face.shape)
    made = {
        "portrait": face,
        "mirrored": np.ascontiguousarray(face[:, ::-1]),
        "four times as large": scaled(face, 4.0),
        "49 pixels wide": scaled(face, 49 / 92),
        "tilted by 20 degrees": turned(face, 20),
        "half as bright": (face * 0.5).astype(np.uint8),
        "grey": cv2.cvtColor(cv2.cvtColor(face, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR),
        "grainy": np.clip(np.rint(face + noise), 0, 255).astype(np.uint8),
    }
    return {name: saved_frame(np.asarray(frame, np.uint8)) for name, frame in made.items()}


def measure(one: Subject) -> dict[str, Any]:
    """Every figure of one portrait."""
    return {
        "face_px": round(face_width(one.face.landmarks)),
        "warnings": list(one.track.warnings),
        **obedience(one),
        **closures(one),
        **silences(one),
        **surroundings(one),
        **sharpness(one),
        **flicker(one),
    }


def obedience(one: Subject) -> dict[str, float]:
    """How well openings and widths that are measured follow those that are commanded."""
    speech = list(speech_chunks(decode_sound((SAMPLES / "speech.flac").read_bytes())))
    frames = SPEECH_SECONDS * FPS
    shapes = list(islice(mouth_shapes(speech, FPS), 0, int(frames), EVERY))
    found = [one.measured(one.drawn(shape)) for shape in shapes]
    opening, width, said = each(found, mouth_opening), each(found, mouth_width), np.array(shapes)
    opened, spread = np.linspace(0, 1, SWEEP_STEPS), np.linspace(-1, 1, SWEEP_STEPS)
    gaps = [one.measured(one.drawn(MouthShape(float(o), 0.0, 0.0, 0.0, 0.0))) for o in opened]
    swept = [one.measured(one.drawn(MouthShape(0.2, float(w), 0.0, 0.0, 0.0))) for w in spread]
    return {
        "r_opening": correlation(said[:, 0], opening),
        # In speech, rounding and closures narrow the opening too, and rounding and the jaw change
        # the width, as they should.
        "r_opening_alone": correlation(opened, each(gaps, mouth_opening)),
        "r_opening_by_all": multiple_correlation(said, opening),
        "r_width": correlation(spread, each(swept, mouth_width)),
        "r_width_in_speech": multiple_correlation(said[:, :3], width),
        "lost_frames": sum(m is None for m in found) / len(found),
        "widest_opening": float(np.fmax.reduce(opening) - np.fmin.reduce(opening)),
    }


def each(
    found: Sequence[Landmarks | None], measure: Callable[[Landmarks], float]
) -> NDArray[np.float64]:
    """A figure of each frame's face; not a number where the face was lost."""
    return np.array([np.nan if landmarks is None else measure(landmarks) for landmarks in found])


def mouth_width(landmarks: Landmarks) -> float:
    """From corner to corner, in face widths, both in space."""
    left, right = landmarks[list(_CORNERS)]
    ears = float(np.linalg.norm(landmarks[234] - landmarks[454]))
    return float(np.linalg.norm(left - right)) / ears


def mouth_gap(landmarks: Landmarks) -> float:
    """Between the inner lips, in mouth widths."""
    gaps = np.linalg.norm(landmarks[list(_INNER_UPPER)] - landmarks[list(_INNER_LOWER)], axis=1)
    left, right = landmarks[list(_CORNERS)]
    return float(gaps.mean() / np.linalg.norm(left - right))


def correlation(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Pearson's, of those measured in both; 0 where either does not change, NaN below three."""
    known = np.isfinite(one) & np.isfinite(other)
    one, other = one[known], other[known]
    if len(one) < 3:
        return float("nan")
    if min(float(one.std()), float(other.std())) < 1e-9:
        return 0.0
    return float(np.corrcoef(one, other)[0, 1])


def multiple_correlation(causes: NDArray[np.float64], effect: NDArray[np.float64]) -> float:
    """Between an effect and the best sum of its causes."""
    known = np.isfinite(effect)
    causes, effect = causes[known], effect[known]
    terms = np.column_stack((causes, np.ones(len(causes))))
    weights = np.linalg.lstsq(terms, effect, rcond=None)[0]
    return correlation(terms @ weights, effect)


def closures(one: Subject) -> dict[str, float]:
    """How far apart closed lips are, in mouth widths."""
    found: dict[str, float] = {}
    for name, shape in (("closure_gap", CLOSURE), ("rest_gap", REST)):
        landmarks = one.measured(one.drawn(shape))
        found[name] = float("nan") if landmarks is None else mouth_gap(landmarks)
    source = one.measured(one.picture)
    found["source_gap"] = float("nan") if source is None else mouth_gap(source)
    return found


def silences(one: Subject) -> dict[str, float]:
    """How much the mouth opens and shuts while nothing is said."""
    chunks = [SpeechChunk(silence(SILENT_SECONDS))]
    found = {}
    for name, motion in (("silence_movement", "still"), ("silence_natural_movement", "natural")):
        seen = [one.measured(frame) for frame in islice(one.spoken(chunks, motion), 0, None, 5)]
        opening = [mouth_opening(landmarks) for landmarks in seen if landmarks is not None]
        found[name] = float(np.ptp(opening)) if opening else float("nan")
    return found


def surroundings(one: Subject) -> dict[str, Any]:
    """What speaking changes where it should change nothing."""
    outline = cv2.convexHull(one.face.landmarks[:, :2].astype(np.float32))
    inside = np.zeros(one.picture.shape[:2], np.uint8)
    cv2.fillConvexPoly(inside, np.rint(outline).astype(np.int32), 1)
    off = cv2.distanceTransform(1 - inside, cv2.DIST_L2, 5) / face_width(one.face.landmarks)
    box = one.avatar.renderer.box
    outside = np.ones(off.shape, bool)
    outside[box.y1 : box.y2, box.x1 : box.x2] = False
    wide_open = one.drawn(WIDE_OPEN)
    speech = list(speech_chunks(decode_sound((SAMPLES / "speech.flac").read_bytes())))
    natural = list(islice(one.spoken(speech, "natural"), 0, 50, 7))
    ring = (off > 0.36) & (off < FAR)
    return {
        "identical_outside": bool((wide_open == one.picture)[outside].all()),
        "still_psnr": psnr(wide_open, one.picture, off > BESIDE),
        "natural_ring_psnr": min(psnr(frame, one.picture, ring) for frame in natural),
        "natural_far_psnr": min(psnr(frame, one.picture, off >= FAR) for frame in natural),
    }


def psnr(one: Frame, other: Frame, where: NDArray[np.bool_]) -> float:
    """Between two pictures in a part of them, in decibels; 99 where they are the same there."""
    if not where.any():
        return 99.0
    error = float(np.square(one[where].astype(np.float64) - other[where]).mean())
    return min(99.0, float(10 * np.log10(255**2 / max(error, 1e-9))))


def sharpness(one: Subject) -> dict[str, float]:
    """The detail of the drawn face beside its mouth, in shares of the photo's."""
    points = one.face.landmarks[:, :2].astype(np.float32)
    face = np.zeros(one.picture.shape[:2], np.uint8)
    hull = np.rint(cv2.convexHull(points)).astype(np.int32)
    cv2.fillConvexPoly(face, hull, 1)
    lips = cv2.convexHull(points[list(_LIPS)]).reshape(-1, 2)
    centre = lips.mean(axis=0)
    wider = np.rint(centre + (lips - centre) * np.array([1.4, 1.8])).astype(np.int32)
    cv2.fillConvexPoly(face, wider, 0)
    # One pixel less, so that the outline's own edge is not counted.
    where = cv2.erode(face, np.ones((5, 5), np.uint8)).astype(bool)
    own = detail(one.picture, where)
    return {
        "sharp_at_rest": detail(one.drawn(REST), where) / own,
        "sharp_in_speech": detail(one.drawn(HALF_OPEN), where) / own,
    }


def detail(frame: Frame, where: NDArray[np.bool_]) -> float:
    """Variance of the Laplacian in a part of a picture."""
    grey = cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY)
    return max(float(cv2.Laplacian(grey, cv2.CV_64F)[where].var()), 1e-9)


def flicker(one: Subject) -> dict[str, float]:
    """Whether a shape is always drawn alike, and slow openings without a jerk."""
    first, _, again = one.drawn(HALF_OPEN), one.drawn(CLOSURE), one.drawn(HALF_OPEN)
    steps = np.linspace(0, 1, FLICKER_STEPS)
    frames = [one.drawn(MouthShape(float(s), 0.0, 0.0, 0.0, 0.0)).astype(np.int16) for s in steps]
    changes = [np.abs(b - a).mean() for a, b in pairwise(frames)]
    return {
        "constant_change": float(np.abs(first.astype(int) - again).max()),
        "sweep_step": float(max(changes) / max(float(np.median(changes)), 1e-9)),
        "sweep_step_at": float(steps[1 + int(np.argmax(changes))]),
    }


def summary(found: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Of every figure the mean and the worst, and whose that is."""
    names = [name for name, value in next(iter(found.values())).items() if _is_figure(name, value)]
    told: dict[str, Any] = {"portraits": len(found)}
    for name in names:
        values = {who: figures[name] for who, figures in found.items() if finite(figures[name])}
        worst: Callable[..., str] = max if name in _SMALL_IS_GOOD else min
        who = worst(values, key=lambda key: values[key], default="")
        if who:
            mean = float(np.mean(list(values.values())))
            told[name] = {"mean": rounded(mean), "worst": rounded(values[who]), "of": who}
    told["identical_outside"] = all(figures["identical_outside"] for figures in found.values())
    return told


def _is_figure(name: str, value: object) -> bool:
    described = ("face_px", "source_gap", "sweep_step_at")
    return isinstance(value, float) and name not in described


def finite(value: float) -> bool:
    """Whether it could be measured."""
    return bool(np.isfinite(value))


def rounded(value: Any) -> Any:
    """Floats as they are told; None where one could not be measured."""
    if not isinstance(value, float):
        return value
    return round(value, 4) if finite(value) else None


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pictures", type=Path, nargs="*", metavar="PICTURE")
    parser.add_argument("-o", "--output", type=Path, help="also write the JSON there")
    parser.add_argument("--summary", action="store_true", help="name no single portrait")
    options = parser.parse_args(arguments)
    given = {path.stem: path.read_bytes() for path in options.pictures} or views()
    found: dict[str, dict[str, Any]] = {}
    refused: dict[str, str] = {}
    for name, data in given.items():
        try:
            one = subject(data)
        except LipSyncError as error:
            refused[name] = error.detail
            continue
        found[name] = measure(one)
    settings = {"fps": float(FPS), "max_height": MAX_HEIGHT, "speech_seconds": SPEECH_SECONDS}
    told: dict[str, Any] = {"settings": settings, "summary": summary(found) if found else {}}
    if options.summary:
        told["refused"] = len(refused)
        for figure in told["summary"].values():
            if isinstance(figure, dict):
                del figure["of"]
    else:
        told["refused"] = refused
        told["portraits"] = {
            who: {name: rounded(value) for name, value in figures.items()}
            for who, figures in found.items()
        }
    write(told, options.output)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
