"""Stays on one face of a video, frame after frame."""

from fractions import Fraction

import cv2
import numpy as np
from numpy.typing import NDArray

from contracts.errors import FaceTooSmall, NoFaceFound
from contracts.limits import MIN_FACE_PX
from gpu_service.data import Face, Frame
from gpu_service.faces.detect import choose, face_width, follow, misfit, search

CUT = 30.0
"""Mean change of a frame's thumbnail, in grey levels, that makes it the first of another scene: a
speaker who moves was measured at 0.4 from frame to frame, other pictures from 84 up."""
THUMBNAIL_SIDE = 32
REACH = 1.5
"""How far a face that was lost may be found from its last place, in face widths."""
FORGET_SECONDS = 1
"""How long a lost face is awaited near its last place before the choice is made anew; also how
often a frame without a face is searched thoroughly."""


class Follower:
    """Finds the chosen face in the frames of a video, in their order.

    While the face is where it was, only its surroundings are looked at. Where it is lost, the
    frame is searched, and the face nearest to the last place is taken; after a scene cut, or when
    the face stays away, the choice is made as in the first frame.

    Args:
        choice: As `LipSyncOptions.face` says.
        fps: Frames per second.
        scale: Pixels of the frames for one pixel of the choice.
    """

    def __init__(self, choice: str, fps: Fraction, scale: float = 1.0) -> None:
        self._choice = choice
        self._scale = scale
        self._patience = max(1, round(FORGET_SECONDS * fps))
        self._last: Face | None = None
        self._lost = 0
        self._thumbnail: NDArray[np.float32] | None = None
        self.chosen_from: list[Face] = []
        """The faces of the last frame, if the choice was made there anew."""
        self.cut = False
        """Whether the last frame began another scene."""
        self.failure = NoFaceFound("no frame of the video shows a face")
        """Why no face was found; for a video in which none ever is."""

    def find(self, frame: Frame) -> Face | None:
        """The chosen face in the next frame; None where it is not to be seen."""
        self.chosen_from = []
        self.cut = self._began_a_scene(frame)
        if self.cut:
            self._last, self._lost = None, 0
        face = None
        if self._last is not None and self._lost == 0:
            face = follow(frame, self._last)
        if face is None:
            face = self._search(frame)
        if face is not None and round(face_width(face.landmarks)) < MIN_FACE_PX:
            self.failure = FaceTooSmall(
                f"the face is {face_width(face.landmarks):.0f} pixels wide in the video; "
                f"{MIN_FACE_PX} are needed to animate it"
            )
            face = None
        if face is None:
            self._lost += 1
            return None
        self._last, self._lost = face, 0
        return face

    def _search(self, frame: Frame) -> Face | None:
        anew = self._last is None or self._lost >= self._patience
        # An index counts every face, also those that only a later stage finds.
        count_all = anew and self._choice.isdigit()
        faces: list[Face] = []
        for faces in search(frame):
            if not count_all and self._pick(faces, anew=anew):
                break
            # A thorough search costs a third of a second, so not every empty frame gets one.
            if self._lost % self._patience:
                break
        face = self._pick(faces, anew=anew)
        if anew and face is not None:
            self.chosen_from = faces
        elif faces and self._last is None:
            self.failure = misfit(faces, self._choice, self._scale)
        return face

    def _pick(self, faces: list[Face], *, anew: bool) -> Face | None:
        if anew or self._last is None:
            return choose(faces, self._choice, self._scale)
        last = self._last
        near = min(faces, key=lambda face: _distance(face, last), default=None)
        if near is None or _distance(near, last) > REACH * face_width(last.landmarks):
            return None
        return near

    def _began_a_scene(self, frame: Frame) -> bool:
        side = (THUMBNAIL_SIDE, THUMBNAIL_SIDE)
        small = cv2.resize(frame, side, interpolation=cv2.INTER_AREA)
        thumbnail = cv2.cvtColor(small, cv2.COLOR_BGR2GRAY).astype(np.float32)
        before, self._thumbnail = self._thumbnail, thumbnail
        return before is not None and float(np.abs(thumbnail - before).mean()) > CUT


def _distance(one: Face, other: Face) -> float:
    between = one.landmarks[:, :2].mean(axis=0) - other.landmarks[:, :2].mean(axis=0)
    return float(np.linalg.norm(between))
