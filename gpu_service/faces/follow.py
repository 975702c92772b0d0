"""Stays on one face of a video, frame after frame."""

from fractions import Fraction

import numpy as np

from contracts.errors import NoFaceFound
from contracts.limits import MIN_FACE_PX
from gpu_service.data import Face, Frame
from gpu_service.faces.detect import choose, face_width, follow, misfit, search
from gpu_service.faces.likeness import Likeness
from gpu_service.faces.refusals import too_small
from gpu_service.faces.scenes import Change, Scenes

REACH = 1.5
"""How far a face that was lost may be found from its last place, in face widths; twice as far
before it is given up."""
LEAP = 0.15
"""Change of place from frame to frame, in face widths, at which it is made sure that the face is
still the same one: a face that passes before another takes its place so."""
FORGET_SECONDS = 1
"""How long a lost face is awaited near its last place before the choice is made anew; also how
often a frame without a face is searched thoroughly."""


class Follower:
    """Finds the chosen face in the frames of a video, in their order.

    While the face is where it was, only its surroundings are looked at. Where it is lost, the
    frame is searched, and the nearest face that looks alike is taken; after a scene cut, or when
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
        self._likeness = Likeness()
        self._scenes = Scenes()
        self.chosen_from: list[Face] = []
        """The faces of the last frame, if the choice was made there anew."""
        self.cut = False
        """Whether the last frame began another scene."""
        self.failure = NoFaceFound("no frame of the video shows a face")
        """Why no face was found; for a video in which none ever is."""

    def find(self, frame: Frame) -> Face | None:
        """The chosen face in the next frame; None where it is not to be seen."""
        self.chosen_from = []
        change = self._scenes.look(frame)
        self.cut = change is Change.CUT
        if self.cut:
            self._forget()
        face = None
        if self._last is not None and self._lost == 0:
            face = follow(frame, self._last)
            if face is not None and self._leapt(face) and not self._known(frame, face):
                face = None
                self.cut = change is Change.SUDDEN
                if self.cut:
                    self._forget()
        if face is None:
            face = self._search(frame)
        if face is not None and round(face_width(face.landmarks)) < MIN_FACE_PX:
            self.failure = too_small(face_width(face.landmarks), frame, self._scale)
            face = None
        if face is None:
            self._lost += 1
            return None
        self._last, self._lost = face, 0
        self._likeness.remember(frame, face.landmarks)
        return face

    def _forget(self) -> None:
        self._last, self._lost = None, 0
        self._likeness.forget()

    def _leapt(self, face: Face) -> bool:
        last = self._last
        return last is not None and _distance(face, last) > LEAP * face_width(last.landmarks)

    def _known(self, frame: Frame, face: Face) -> bool:
        return self._likeness.known(frame, face.landmarks)

    def _search(self, frame: Frame) -> Face | None:
        if self._lost >= self._patience:
            self._forget()
        anew = self._last is None
        # An index counts every face, also those that only a later stage finds.
        count_all = anew and self._choice.isdigit()
        faces: list[Face] = []
        for faces in search(frame):
            if not count_all and self._pick(frame, faces):
                break
            # A thorough search costs half a second, so not every empty frame gets one.
            if self._lost % self._patience:
                break
        face = self._pick(frame, faces)
        if anew and face is not None:
            self.chosen_from = faces
        elif anew and faces:
            self.failure = misfit(faces, self._choice, self._scale)
        return face

    def _pick(self, frame: Frame, faces: list[Face]) -> Face | None:
        last = self._last
        if last is None:
            return choose(faces, self._choice, self._scale)
        reach = REACH * (1 + self._lost / self._patience) * face_width(last.landmarks)
        near = [face for face in faces if _distance(face, last) <= reach]
        alike = [face for face in near if self._known(frame, face)]
        return min(alike, key=lambda face: _distance(face, last), default=None)


def _distance(one: Face, other: Face) -> float:
    between = one.landmarks[:, :2].mean(axis=0) - other.landmarks[:, :2].mean(axis=0)
    return float(np.linalg.norm(between))
