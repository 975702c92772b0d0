"""Where the chosen face is in every frame of a photo or a video, and what hurts its picture."""

from fractions import Fraction

import cv2
import numpy as np

from contracts.errors import NoFaceFound
from contracts.lipsync import LipSyncOptions
from gpu_service.data import Box, Face, FaceSource, FaceTrack, Frame, Progress
from gpu_service.faces.detect import face_width, find_face

DARK_LUMA = 55
"""Median brightness of a face below which it counts as dark, of 255."""
TURNED = 2.2
"""The nearer half of a face is this many times wider than the other when it is much turned."""
SMALL_PX = 90
"""Below this width, from ear to ear, a face shows few details of its mouth."""
BLURRED = 0.06
"""Fine detail of a face, relative to its brightness, below which it counts as blurred: sharp faces
were measured from 0.2 up, faces blurred over a fiftieth of their width at 0.07 and less."""
_NOSE_TIP, _LEFT_EAR, _RIGHT_EAR = 1, 234, 454


def track_faces(
    source: FaceSource, fps: Fraction, options: LipSyncOptions, progress: Progress
) -> FaceTrack:
    """Find the chosen face in every source frame.

    Args:
        source: The photo or video.
        fps: Frame rate of the output.
        options: `face` says which face.
        progress: Told of each frame, in frames.

    Raises:
        NoFaceFound: A photo shows no such face, or a video shows none in any frame.
        FaceTooSmall: A photo's face is too small.
    """
    choice = _in_output(options.face, source.scale)
    faces: list[Face | None] = []
    warnings: tuple[str, ...] = ()
    failure = NoFaceFound("the video has no frames")
    for frame in source.frames():
        try:
            face = find_face(frame, choice)
        except NoFaceFound as error:
            if source.kind == "photo":
                raise
            faces.append(None)
            failure = error
        else:
            warnings = warnings or face_warnings(frame, face)
            faces.append(face)
        progress("track", len(faces), len(faces))
    if not any(faces):
        raise failure
    return FaceTrack(source, fps, tuple(faces), warnings)


def face_warnings(frame: Frame, face: Face) -> tuple[str, ...]:
    """What hurts the picture of a face, in plain words."""
    landmarks = face.landmarks
    found: list[str] = []
    width = face_width(landmarks)
    if width < SMALL_PX:
        found.append(f"The face is small ({width:.0f} pixels wide): the mouth will look soft.")
    grey = _face_grey(frame, face.box)
    luma = float(np.median(grey))
    if luma < DARK_LUMA:
        found.append("The face is dark: a brighter picture gives a clearer mouth.")
    halves = np.linalg.norm(
        landmarks[[_LEFT_EAR, _RIGHT_EAR], :2] - landmarks[_NOSE_TIP, :2], axis=1
    )
    if float(halves.max()) > TURNED * max(float(halves.min()), 1.0):
        found.append("The face is turned to the side: a picture from the front works better.")
    detail = float(np.percentile(np.abs(cv2.Laplacian(grey, cv2.CV_32F)), 95))
    if detail < BLURRED * max(luma, 20.0):
        found.append("The face is blurred: a sharper picture gives a clearer mouth.")
    return tuple(found)


def _in_output(choice: str, scale: float) -> str:
    """A choice by a point of the upload as one by a point of the output."""
    if "," not in choice:
        return choice
    return ",".join(str(int(int(part) * scale)) for part in choice.split(","))


def _face_grey(frame: Frame, box: Box) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """The face in grey at one size, so that edges of small and large faces compare."""
    face = frame[box.y1 : box.y2, box.x1 : box.x2]
    grey = cv2.cvtColor(face, cv2.COLOR_BGR2GRAY)
    return np.asarray(cv2.resize(grey, (96, 120), interpolation=cv2.INTER_AREA), np.float32)
