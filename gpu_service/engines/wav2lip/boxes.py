"""Where in each source frame the network looks: the face's box, steadied as the options ask."""

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Final

import numpy as np

from contracts.lipsync import LipSyncOptions
from gpu_service.data import Box, Detection, Edges, Face, FaceTrack, Landmarks
from gpu_service.engines.wav2lip.preprocess import OVAL
from gpu_service.engines.wav2lip.published import smooth_boxes
from gpu_service.faces.detect import roll
from gpu_service.faces.track import LYING

Pads = tuple[float, float, float, float]
"""Pixels to add: top, bottom, left, right."""
HOLD: Final = 0.75
"""An edge stays where it is until it is this far from where it should be, in pixels. With 0.5,
which is rounding alone, the edges of a face that stands still would change to and fro."""


def face_boxes(track: FaceTrack, options: LipSyncOptions) -> list[Box | None]:
    """What the network sees of each source frame; None where no mouth can be drawn.

    The detector's box counts where there is one, else the landmarks' box. A face that only the
    detector found has no landmarks that a mouth could be blended along, so it has a box only with
    `paste=box`. So has a face that lies or hangs: the mouths that the network draws are upright.

    With `smoothing=release`, frames without a face end the averaging; the release itself would
    stop there. Like the release, it averages across cuts.
    """
    source, pads = track.source, parse_pads(options.pads, track.source.scale)
    detections = track.detections or [None] * len(track.faces)
    blended = options.paste == "blend"
    places = [
        None if blended and not _stands(face) else _place(face, detection)
        for face, detection in zip(track.faces, detections, strict=True)
    ]
    if options.smoothing == "centred":
        places = list(_held(places))
    boxes = [
        edges and _padded(_whole(edges), pads, source.width, source.height) for edges in places
    ]
    return _smooth_as_released(boxes) if options.smoothing == "release" else boxes


def parse_pads(text: str, scale: float) -> Pads:
    """`LipSyncOptions.pads`, which count in pixels of the upload, in pixels of the output."""
    top, bottom, left, right = (int(part) * scale for part in text.split(","))
    return top, bottom, left, right


def face_box(landmarks: Landmarks, pads: Pads, width: int, height: int) -> Box:
    """The box around a face as Wav2Lip was trained to see it.

    Wav2Lip's faces were cut out by the detector S3FD, whose boxes hold the face from the hairline
    to the chin and from cheek to cheek, upright also where the head is tilted. MediaPipe's outline
    of the face runs along the same places: top is its point on the forehead (10), bottom its chin
    (152), the sides its points before the ears (234, 454), so the box is the outline's bounding
    box, rounded to whole pixels. Then the pads are added, as in the release: by default 10 pixels
    beneath the chin.

    Args:
        landmarks: Of the face.
        pads: Pixels to add.
        width: Of the frame; the box ends there.
        height: Likewise.
    """
    return _padded(_whole(_outline(landmarks)), pads, width, height)


def _stands(face: Face | None) -> bool:
    return face is not None and abs(roll(face.landmarks)) <= LYING


def _place(face: Face | None, detection: Detection | None) -> Edges | None:
    """Where the face is, such that rounding gives its box."""
    if detection is not None:
        # The release cuts edges to whole pixels, and then adds the pads.
        x1, y1, x2, y2 = (max(edge, 0.0) - 0.5 for edge in detection[:4])
        return x1, y1, x2, y2
    return None if face is None else _outline(face.landmarks)


def _outline(landmarks: Landmarks) -> Edges:
    points = landmarks[list(OVAL), :2]
    (x1, y1), (x2, y2) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    return x1, y1, x2, y2


def _whole(edges: Edges) -> Edges:
    x1, y1, x2, y2 = (math.floor(edge + 0.5) for edge in edges)
    return x1, y1, x2, y2


def _held(places: Iterable[Edges | None]) -> Iterator[Edges | None]:
    """Whole pixels for each frame's edges, those of the frame before as long as they will do."""
    last: Edges | None = None
    for edges in places:
        if edges is not None and last is not None:
            near = zip(_whole(edges), edges, last, strict=True)
            x1, y1, x2, y2 = (old if abs(edge - old) < HOLD else new for new, edge, old in near)
            last = x1, y1, x2, y2
        else:
            last = edges and _whole(edges)
        yield last


def _padded(edges: Edges, pads: Pads, width: int, height: int) -> Box:
    """The box of these edges and pads, in whole pixels, within the frame and never empty."""
    top, bottom, left, right = pads
    x1 = min(max(round(edges[0] - left), 0), width - 2)
    y1 = min(max(round(edges[1] - top), 0), height - 2)
    x2 = max(min(round(edges[2] + right), width), x1 + 2)
    y2 = max(min(round(edges[3] + bottom), height), y1 + 2)
    return Box(x1, y1, x2, y2)


def _smooth_as_released(boxes: Sequence[Box | None]) -> list[Box | None]:
    smooth: list[Box | None] = []
    for empty, group in groupby(boxes, key=lambda box: box is None):
        run = list(group)
        smooth += run if empty else [Box(*box) for box in smooth_boxes(np.array(run)).tolist()]
    return smooth
