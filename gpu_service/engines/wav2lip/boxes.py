"""Where in each source frame the network looks: the face's box, steadied as the options ask."""

from collections.abc import Sequence
from itertools import groupby

import numpy as np

from contracts.lipsync import LipSyncOptions
from gpu_service.data import Box, Detection, Face, FaceTrack, Landmarks
from gpu_service.engines.wav2lip.preprocess import OVAL
from gpu_service.engines.wav2lip.published import smooth_boxes

Pads = tuple[float, float, float, float]
"""Pixels to add: top, bottom, left, right."""


def face_boxes(track: FaceTrack, options: LipSyncOptions) -> list[Box | None]:
    """What the network sees of each source frame; None where no mouth can be drawn.

    The detector's box counts where there is one, else the landmarks' box. A face that only the
    detector found has no landmarks that a mouth could be blended along, so it has a box only with
    `paste=box`.

    With `smoothing=release`, frames without a face end the averaging; the release itself would
    stop there. Like the release, it averages across cuts.
    """
    source, pads = track.source, parse_pads(options.pads, track.source.scale)
    detections = track.detections or [None] * len(track.faces)
    bare = options.paste == "box"
    boxes = [
        None
        if face is None and not bare
        else _box(face, detection, pads, source.width, source.height)
        for face, detection in zip(track.faces, detections, strict=True)
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
    outline = landmarks[list(OVAL), :2]
    low, high = outline.min(axis=0), outline.max(axis=0)
    top, bottom, left, right = pads
    return _within(
        (
            float(low[0]) - left,
            float(low[1]) - top,
            float(high[0]) + right,
            float(high[1]) + bottom,
        ),
        width,
        height,
    )


def detected_box(detection: Detection, pads: Pads, width: int, height: int) -> Box:
    """The box of a detected face as the release makes it: cut to whole pixels, then padded.

    Args:
        detection: What S3FD says.
        pads: Pixels to add.
        width: Of the frame; the box ends there.
        height: Likewise.
    """
    x1, y1, x2, y2 = (int(max(edge, 0.0)) for edge in detection[:4])
    top, bottom, left, right = pads
    return _within((x1 - left, y1 - top, x2 + right, y2 + bottom), width, height)


def _box(
    face: Face | None, detection: Detection | None, pads: Pads, width: int, height: int
) -> Box | None:
    if detection is not None:
        return detected_box(detection, pads, width, height)
    return None if face is None else face_box(face.landmarks, pads, width, height)


def _within(edges: tuple[float, float, float, float], width: int, height: int) -> Box:
    """The box of these edges, in whole pixels, within the frame and never empty."""
    x1 = min(max(round(edges[0]), 0), width - 2)
    y1 = min(max(round(edges[1]), 0), height - 2)
    x2 = max(min(round(edges[2]), width), x1 + 2)
    y2 = max(min(round(edges[3]), height), y1 + 2)
    return Box(x1, y1, x2, y2)


def _smooth_as_released(boxes: Sequence[Box | None]) -> list[Box | None]:
    smooth: list[Box | None] = []
    for empty, group in groupby(boxes, key=lambda box: box is None):
        run = list(group)
        smooth += run if empty else [Box(*box) for box in smooth_boxes(np.array(run)).tolist()]
    return smooth
