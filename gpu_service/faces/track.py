"""Where the chosen face is in every frame of a photo or a video, and what hurts its picture."""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import islice

import cv2
import numpy as np

from contracts.errors import MediaTooLarge
from contracts.limits import MAX_SPEECH_SECONDS
from contracts.lipsync import LipSyncOptions
from gpu_service.data import Box, Detection, Face, FaceSource, FaceTrack, Frame, Progress
from gpu_service.faces.detect import face_width, find_faces, places, roll
from gpu_service.faces.detectors import BoxDetector, Watcher
from gpu_service.faces.follow import Follower
from gpu_service.faces.smooth import smooth_detections, smooth_faces
from gpu_service.pipeline import FRAMES_AHEAD, Ahead

DARK_LUMA = 55
"""Median brightness of a face below which it counts as dark, of 255."""
TURNED = 2.2
"""The nearer half of a face is this many times wider than the other when it is much turned."""
SMALL_PX = 90
"""Below this width, from ear to ear, a face shows few details of its mouth."""
BLURRED = 0.14
"""Fine detail of a face, relative to its brightness, below which it counts as blurred: 112 sharp
portraits were measured from 0.21 up; of 35 that were blurred over a fiftieth of their width, 32 at
less than 0.14, over a thirtieth all, over a hundredth half."""
LYING = 60.0
"""Beyond this many degrees a face lies in the picture, which tilted heads do not."""
_NOSE_TIP, _LEFT_EAR, _RIGHT_EAR = 1, 234, 454


def track_faces(
    source: FaceSource,
    fps: Fraction,
    options: LipSyncOptions,
    progress: Progress,
    num_frames: int | None = None,
    detector: BoxDetector | None = None,
) -> FaceTrack:
    """Find the chosen face in every source frame.

    Its landmarks are MediaPipe's, whoever says where its box is: they choose the face, and only a
    face that has them can be blended into the frame.

    Args:
        source: The photo or video.
        fps: Frame rate of the output.
        options: `face` says which face, `smoothing` how its place is steadied.
        progress: Told of each frame, in frames.
        num_frames: How many of the first frames are looked at; None looks at all.
        detector: Also says where the chosen face is; None leaves that to the landmarks.

    Raises:
        NoFaceFound: A photo shows no such face, or a video shows none in any frame.
        FaceTooSmall: The face is too small.
        MediaTooLarge: All frames are needed, and they are more than a render may have.
    """
    watcher = Watcher(detector) if detector else None
    if source.kind == "photo":
        frame = next(source.frames())
        found = find_faces(frame, options.face, source.scale)
        progress("track", 1, 1)
        warnings = face_warnings(frame, found[0])
        warnings += choice_warnings(found, options.face, source.scale)
        seen = [watcher.find(frame, found[0])] if watcher else []
        return FaceTrack(source, fps, found[:1], warnings, detections=seen)
    follower = Follower(options.face, fps, source.scale)
    faces: list[Face | None] = []
    detections: list[Detection | None] = []
    cuts: set[int] = set()
    chosen: list[int] = []
    of_face: tuple[str, ...] = ()
    of_choice: tuple[str, ...] = ()
    met = False
    with Ahead(_first_frames(source, num_frames), FRAMES_AHEAD, "decode") as frames:
        for index, frame in enumerate(frames):
            if index >= MAX_SPEECH_SECONDS * fps:
                raise MediaTooLarge(
                    f"the face video plays for more than {MAX_SPEECH_SECONDS:.0f} s",
                    hint="Shorten the video, or use the length mode `loop`.",
                )
            face = follower.find(frame)
            if face is not None and not met:
                met, of_face = True, face_warnings(frame, face)
            of_choice = of_choice or choice_warnings(
                follower.chosen_from, options.face, source.scale, index / fps
            )
            if follower.cut:
                cuts.add(index)
            if follower.chosen_from:
                chosen.append(index)
            if watcher:
                detections.append(watcher.find(frame, face, cut=follower.cut))
            faces.append(face)
            progress("track", index + 1, index + 1)
    if not met:
        raise follower.failure
    warnings = of_face + of_choice
    if options.smoothing != "centred":
        return FaceTrack(source, fps, faces, warnings, chosen=chosen, detections=detections)
    steadied = smooth_faces(faces, cuts, source.width, source.height)
    steady = smooth_detections(detections, cuts)
    return FaceTrack(
        source, fps, faces, warnings, steadied=steadied, chosen=chosen, detections=steady
    )


def _first_frames(source: FaceSource, num_frames: int | None) -> Iterator[Frame]:
    """A generator, so that the thread that reads it also closes it."""
    yield from islice(source.frames(), num_frames)


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
    if abs(roll(landmarks)) > LYING:
        found.append("The face does not stand upright: turn the picture for a better mouth.")
    detail = float(np.percentile(np.abs(cv2.Laplacian(grey, cv2.CV_32F)), 95))
    if detail < BLURRED * max(luma, 20.0):
        found.append("The face is blurred: a sharper picture gives a clearer mouth.")
    return tuple(found)


def choice_warnings(
    faces: Sequence[Face], choice: str, scale: float, seconds: Fraction = Fraction(0)
) -> tuple[str, ...]:
    """Which faces there were to choose from, where nobody chose among several.

    Args:
        faces: Those that were found.
        choice: As `LipSyncOptions.face` says.
        scale: Pixels of the output for one pixel of the upload.
        seconds: When in the video that was.
    """
    if choice != "largest" or len(faces) < 2:
        return ()
    when = f" at {float(seconds):.1f} s" if seconds else ""
    return (f"{len(faces)} faces were found{when} and the largest speaks: {places(faces, scale)}.",)


def _face_grey(frame: Frame, box: Box) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """The face in grey at one size, so that edges of small and large faces compare."""
    face = frame[box.y1 : box.y2, box.x1 : box.x2]
    grey = cv2.cvtColor(face, cv2.COLOR_BGR2GRAY)
    return np.asarray(cv2.resize(grey, (96, 120), interpolation=cv2.INTER_AREA), np.float32)
