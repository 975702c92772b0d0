"""From speech to mouth shapes: by the voice's phoneme marks where it gives them, else by ear."""

import csv
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Final

from gpu_service.data import SPEECH_RATE, SpeechChunk, num_frames
from gpu_service.engines.facewarp.hearing.mark_shapes import MarkShapes
from gpu_service.engines.facewarp.hearing.net_shapes import NetShapes
from gpu_service.engines.facewarp.shape import MouthShape

__all__ = ["LOOK_AHEAD_SECONDS", "MouthShape", "mouth_shapes", "write_mouth_track"]

LOOK_AHEAD_SECONDS: Final = Fraction(1, 5)
"""Speech that is taken beyond a frame's own time before its shape is given."""

_TRACK_FPS: Final = Fraction(25)


def mouth_shapes(speech: Iterable[SpeechChunk], fps: Fraction) -> Iterator[MouthShape]:
    """The mouth shape of every frame, as the speech arrives.

    Shape i is given once i/fps + LOOK_AHEAD_SECONDS of speech was taken, or the speech has ended;
    `num_frames(samples, fps)` shapes in all. How the speech is cut changes none of them.

    Args:
        speech: The pieces in order; the first decides whether the voice gives marks.
        fps: Frames per second.
    """
    track: MarkShapes | NetShapes | None = None
    num_samples = index = 0
    for chunk in speech:
        if track is None:
            track = NetShapes(fps) if chunk.marks is None else MarkShapes(fps)
        track.take(chunk)
        num_samples += len(chunk.samples)
        while (index / fps + LOOK_AHEAD_SECONDS) * SPEECH_RATE <= num_samples:
            yield track.shape(float(index / fps))
            index += 1
    track = track or NetShapes(fps)
    track.finish()
    for late in range(index, num_frames(num_samples, fps)):
        yield track.shape(float(late / fps))


def write_mouth_track(speech: Iterable[SpeechChunk], path: Path) -> int:
    """Write the shapes as CSV, 25 rows a second: t, open, width, round, closure, fv.

    Returns:
        How many rows follow the header.
    """
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(("t", *MouthShape._fields))
        index = -1
        for index, shape in enumerate(mouth_shapes(speech, _TRACK_FPS)):
            seconds = float(index / _TRACK_FPS)
            rows.writerow((f"{seconds:.3f}", *(f"{value:.5f}" for value in shape)))
    return index + 1
