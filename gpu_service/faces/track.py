"""Where the chosen face is in every frame of a photo or a video, and what hurts its picture."""

from collections.abc import Sequence, Set
from fractions import Fraction
from itertools import islice

import cv2
import numpy as np

from contracts.errors import MediaTooLarge
from contracts.limits import MAX_SPEECH_SECONDS
from contracts.lipsync import LipSyncOptions
from gpu_service.data import Box, Face, FaceSource, FaceTrack, Frame, Progress
from gpu_service.faces.detect import (
    MAX_SPREAD,
    bounding_box,
    face_width,
    find_faces,
    from_left,
)
from gpu_service.faces.follow import Follower

DARK_LUMA = 55
"""Median brightness of a face below which it counts as dark, of 255."""
TURNED = 2.2
"""The nearer half of a face is this many times wider than the other when it is much turned."""
SMALL_PX = 90
"""Below this width, from ear to ear, a face shows few details of its mouth."""
BLURRED = 0.06
"""Fine detail of a face, relative to its brightness, below which it counts as blurred: sharp faces
were measured from 0.2 up, faces blurred over a fiftieth of their width at 0.07 and less."""
SMOOTH_REACH = 2
"""Frames before and after a frame over which the face's place is averaged."""
_NOSE_TIP, _LEFT_EAR, _RIGHT_EAR = 1, 234, 454


def track_faces(
    source: FaceSource,
    fps: Fraction,
    options: LipSyncOptions,
    progress: Progress,
    num_frames: int | None = None,
) -> FaceTrack:
    """Find the chosen face in every source frame.

    Args:
        source: The photo or video.
        fps: Frame rate of the output.
        options: `face` says which face.
        progress: Told of each frame, in frames.
        num_frames: How many of the first frames are looked at; None looks at all.

    Raises:
        NoFaceFound: A photo shows no such face, or a video shows none in any frame.
        FaceTooSmall: The face is too small.
        MediaTooLarge: All frames are needed, and they are more than a render may have.
    """
    choice = _in_output(options.face, source.scale)
    if source.kind == "photo":
        frame = next(source.frames())
        found = find_faces(frame, choice)
        progress("track", 1, 1)
        warnings = face_warnings(frame, found[0]) + choice_warnings(found, choice, source.scale)
        return FaceTrack(source, fps, found[:1], warnings)
    follower = Follower(choice, fps)
    faces: list[Face | None] = []
    cuts: set[int] = set()
    warnings = ()
    for frame in islice(source.frames(), num_frames):
        if len(faces) >= MAX_SPEECH_SECONDS * fps:
            raise MediaTooLarge(
                f"the face video plays for more than {MAX_SPEECH_SECONDS:.0f} s",
                hint="Shorten the video, or use the length mode `loop`.",
            )
        face = follower.find(frame)
        if face is not None and not any(faces):
            found = [face, *follower.others]
            warnings = face_warnings(frame, face) + choice_warnings(found, choice, source.scale)
        if follower.cut:
            cuts.add(len(faces))
        faces.append(face)
        progress("track", len(faces), len(faces))
    if not any(faces):
        raise follower.failure
    return FaceTrack(source, fps, smoothed(faces, cuts, source.width, source.height), warnings)


def smoothed(
    faces: Sequence[Face | None], cuts: Set[int], width: int, height: int
) -> tuple[Face | None, ...]:
    """The faces without the detector's jitter: each the mean of five frames, itself in the middle.

    Frames before a cut or beyond a gap don't count. Near them the mean is over three frames or
    one, so that it stays centred and a face that moves evenly is not held back.

    Args:
        faces: The face in each frame.
        cuts: Frames that begin a scene.
        width: Of the frames, in pixels.
        height: Likewise.
    """
    steady: list[Face | None] = []
    start = 0
    for index in range(1, len(faces) + 1):
        ends = index == len(faces) or index in cuts or (faces[index] is None)
        if ends or faces[index - 1] is None:
            steady += _steady(faces[start:index], width, height)
            start = index
    return tuple(steady)


def _steady(run: Sequence[Face | None], width: int, height: int) -> list[Face | None]:
    """A run of frames of one scene, all with a face or all without."""
    found = [face for face in run if face is not None]
    if len(found) < len(run):
        return list(run)
    points = np.stack([face.landmarks for face in found])
    steady: list[Face | None] = []
    for index, face in enumerate(found):
        reach = min(SMOOTH_REACH, index, len(found) - 1 - index)
        mean = points[index - reach : index + reach + 1].mean(axis=0)
        steady.append(Face(bounding_box(mean, width, height), mean, face.spread))
    return steady


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


def choice_warnings(faces: Sequence[Face], choice: str, scale: float) -> tuple[str, ...]:
    """Which faces there are to choose from, where nobody chose among several.

    Args:
        faces: Those that were found.
        choice: As `LipSyncOptions.face` says.
        scale: Pixels of the output for one pixel of the upload.
    """
    if choice != "largest" or len(faces) < 2:
        return ()
    places = []
    for index, face in enumerate(from_left(faces)):
        corners = ", ".join(str(round(edge / scale)) for edge in face.box)
        places.append(f"face={index} at ({corners}), score {1 - face.spread / MAX_SPREAD:.2f}")
    return (f"{len(faces)} faces were found and the largest speaks: {'; '.join(places)}.",)


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
