"""What does facewarp's mouth look like? Draws contact sheets, to be looked at.

A sheet for each picture: the source and the shapes of speech, the mouths enlarged below them, then
twelve frames of four seconds of speech. Pages of all the mouths, a picture a row, are beside them.
Without pictures it takes the one in samples/ and views made of it.

    python3 run.py bench sheets [PICTURE ...] -o FOLDER [--motion still] [--shapes-only]
"""

import argparse
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from contracts.errors import LipSyncError
from contracts.lipsync import LipSyncOptions
from gpu_service.compose import compose
from gpu_service.data import SPEECH_RATE, FacePatch, Frame, SpeechChunk, no_progress
from gpu_service.engines.facewarp.engine import FacewarpEngine
from gpu_service.engines.facewarp.portrait import build_portrait
from gpu_service.engines.facewarp.renderer import Renderer
from gpu_service.engines.facewarp.shape import REST, MouthShape
from gpu_service.faces.detect import face_width, find_face
from gpu_service.faces.track import track_faces
from gpu_service.media.decode import decode_face
from tests.media import Photo, portrait, sample_speech, saved_frame, scaled, turned

FPS: Final = Fraction(25)
SPEECH_SECONDS: Final = 4
STRIP_FRAMES: Final = 12
SIDE: Final = 210
"""Pixels along the side of one picture on a sheet."""
COLUMNS: Final = 9
ROWS_OF_A_PAGE: Final = 6
MAX_HEIGHT: Final = 1080
SHAPES: Final = {
    "rest": REST,
    "aa": MouthShape(0.75, 0.1, 0.0, 0.0, 0.0),
    "eh": MouthShape(0.45, 0.3, 0.0, 0.0, 0.0),
    "ee": MouthShape(0.25, 0.9, 0.0, 0.0, 0.0),
    "oo": MouthShape(0.3, -0.4, 1.0, 0.0, 0.0),
    "mm": MouthShape(0.0, 0.0, 0.0, 1.0, 0.0),
    "ff": MouthShape(0.1, 0.1, 0.0, 0.0, 1.0),
    "wide": MouthShape(1.0, 0.0, 0.0, 0.0, 0.0),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw and keep."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pictures", type=Path, nargs="*", metavar="PICTURE")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--motion", choices=("natural", "still"), default="natural")
    parser.add_argument("--shapes-only", action="store_true", help="leave the speech out")
    options = parser.parse_args(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    pages: list[list[Frame]] = []
    for name, data in named(options.pictures):
        try:
            picture = next(decode_face(data, MAX_HEIGHT).frames())
            frames = [picture, *shapes(picture)]
            spoken = [] if options.shapes_only else strip(picture, options.motion)
            face, mouth = windows(picture)
        except LipSyncError as error:
            print(f"{name}: {error.detail}")
            continue
        titles = ("source", *SHAPES)
        mouths = tiles(frames, mouth, (name[:28], *SHAPES))
        rows = [*tiles(frames, face, titles), *mouths, *tiles(spoken, face)]
        save(options.output / f"{name}.png", rows)
        pages.append(mouths)
    for first in range(0, len(pages), ROWS_OF_A_PAGE):
        page = [tile for row in pages[first : first + ROWS_OF_A_PAGE] for tile in row]
        save(options.output / f"mouths-{first // ROWS_OF_A_PAGE}.png", page)
    return 0


def named(paths: Sequence[Path]) -> Iterator[tuple[str, bytes]]:
    """The files that are given, or the sample and views of it."""
    for path in paths:
        yield path.stem, path.read_bytes()
    if not paths:
        frame = portrait()
        yield "sample", saved_frame(frame)
        yield "large", saved_frame(scaled(frame, 2.0))
        yield "small", saved_frame(scaled(frame, 0.6))
        yield "grey", saved_frame(np.repeat(frame[..., 1:2], 3, axis=2))
        yield "turned", saved_frame(turned(scaled(frame, 2.0), 25))


def shapes(picture: Frame) -> list[Frame]:
    """The picture in each of the shapes, the head still."""
    renderer = Renderer(build_portrait(picture, find_face(picture)))
    return [
        compose(picture, FacePatch(index, renderer.box, renderer.render(shape)))
        for index, shape in enumerate(SHAPES.values())
    ]


def strip(picture: Frame, motion: str) -> list[Frame]:
    """Frames of the picture that speaks, evenly over the speech."""
    options = LipSyncOptions.model_validate({"motion": motion})
    track = track_faces(Photo(picture), FPS, options, no_progress)
    engine = FacewarpEngine()
    speech = SpeechChunk(sample_speech()[: SPEECH_SECONDS * SPEECH_RATE])
    patches = list(engine.render(engine.prepare(track, options, no_progress), [speech], options))
    # From the middle of a twelfth to that of the next: the first frame of a speech is at rest.
    chosen = (np.arange(STRIP_FRAMES) + 0.5) * len(patches) / STRIP_FRAMES
    return [compose(picture, patches[int(index)]) for index in chosen]


def windows(picture: Frame) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """(left, top, side) of the face with some of what surrounds it, and of the mouth."""
    landmarks = find_face(picture).landmarks
    width = face_width(landmarks)
    face, mouth = landmarks[[10, 152], :2].mean(axis=0), landmarks[[61, 291, 17], :2].mean(axis=0)
    sides = (1.9 * width, 0.74 * width)
    (left, top, side), (mouth_left, mouth_top, mouth_side) = (
        np.rint((*(centre - side / 2), side)).astype(int).tolist()
        for centre, side in zip((face, mouth), sides, strict=True)
    )
    return (left, top, side), (mouth_left, mouth_top, mouth_side)


def tiles(
    frames: Sequence[Frame], window: tuple[int, int, int], titles: Sequence[str] = ()
) -> list[Frame]:
    """The window of each frame, as large as the sheet shows it."""
    left, top, side = window
    found = []
    for index, frame in enumerate(frames):
        height, width = frame.shape[:2]
        shown = np.full((side, side, 3), 255, np.uint8)
        x, y = max(left, 0), max(top, 0)
        part = frame[y : min(top + side, height), x : min(left + side, width)]
        shown[y - top :, x - left :][: part.shape[0], : part.shape[1]] = part
        smooth = cv2.INTER_AREA if side > SIDE else cv2.INTER_CUBIC
        tile = cv2.resize(shown, (SIDE, SIDE), interpolation=smooth)
        if index < len(titles):
            for colour, thickness in ((0, 3), (255, 1)):
                cv2.putText(
                    tile, titles[index], (6, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.45,
                    (colour, colour, colour), thickness, cv2.LINE_AA,
                )  # fmt: skip
        found.append(np.asarray(tile, np.uint8))
    return found


def save(path: Path, found: Sequence[Frame]) -> None:
    """Keep tiles as one picture, rows filled one after the other."""
    sheet = np.full((-(-len(found) // COLUMNS) * SIDE, COLUMNS * SIDE, 3), 255, np.uint8)
    for index, tile in enumerate(found):
        row, column = divmod(index, COLUMNS)
        sheet[row * SIDE : (row + 1) * SIDE, column * SIDE : (column + 1) * SIDE] = tile
    cv2.imwrite(str(path), sheet)


if __name__ == "__main__":
    raise SystemExit(main())
