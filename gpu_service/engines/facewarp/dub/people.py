"""Whose mouth each frame of a video shows: every person has a reference of their own."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, overload

import numpy as np

from gpu_service.data import FaceTrack, Landmarks
from gpu_service.engines.facewarp.dub.landmarks import choose_reference
from gpu_service.engines.facewarp.dub.motion import unlikeness

MOST_PEOPLE: Final = 8
"""A film of many cuts must neither take endless memory nor be prepared for minutes: who comes later
has the reference whose mouth is most like theirs."""
_MOUTH: Final = (0, 17, 61, 291)
"""The middle of both lips, and the corners."""
_ALIKE: Final = 0.12
"""Mouths at rest that differ by less, in half mouths, share a reference. The first seconds of one
person's film differ by 0.02 to 0.1 from one to the next while the head looks the same way, other
people's portraits by 0.25 in the median; one person twice does no harm."""


@dataclass
class Person:
    """A face that one reference serves, or two that are as good as alike."""

    mouth: Landmarks
    """At rest, in the first scene."""
    frames: list[int]
    """Source frames that show it, ascending."""
    at_rest: list[int]
    """Of each scene, the frame in which the mouth rests."""


class Part(Sequence[Landmarks | None]):
    """The landmarks of some frames.

    Args:
        seen: Of all frames; read when asked for, so that they need not be kept.
        frames: Those that are meant.
    """

    def __init__(self, seen: Sequence[Landmarks | None], frames: Sequence[int]) -> None:
        self._seen, self._frames = seen, frames

    def __len__(self) -> int:
        return len(self._frames)

    @overload
    def __getitem__(self, index: int) -> Landmarks | None: ...
    @overload
    def __getitem__(self, index: slice) -> list[Landmarks | None]: ...
    def __getitem__(self, index: int | slice) -> Landmarks | list[Landmarks | None] | None:
        if isinstance(index, slice):
            return [self._seen[each] for each in self._frames[index]]
        return self._seen[self._frames[index]]


def find_people(track: FaceTrack, seen: Sequence[Landmarks | None]) -> list[Person]:
    """Sort the scenes of a video by who is in them; scenes that show no mouth are left out.

    Args:
        track: Of the video.
        seen: The landmarks in every source frame.
    """
    people: list[Person] = []
    for first, end in pairwise(sorted({0, *track.chosen, len(track.faces)})):
        frames = [index for index in range(first, end) if track.faces[index] is not None]
        whole = _showing_the_mouth(track, frames)
        at_rest = whole[choose_reference(Part(seen, whole))] if whole else first
        mouth = seen[at_rest]
        if not whole or mouth is None:
            continue
        off = [unlikeness(each.mouth, mouth) for each in people]
        if off and (min(off) < _ALIKE or len(people) == MOST_PEOPLE):
            person = people[int(np.argmin(off))]
            person.frames += frames
            person.at_rest.append(at_rest)
        else:
            people.append(Person(mouth, frames, [at_rest]))
    return people


def _showing_the_mouth(track: FaceTrack, frames: Sequence[int]) -> list[int]:
    """Those of the frames that show as much of the mouth as any does; none if that is little.

    Landmarks go on beyond the border where a part of the face is cut off.
    """
    faces = [track.faces[index] for index in frames]
    if not faces:
        return []
    size = (track.source.width, track.source.height)
    at = np.stack([face.landmarks[list(_MOUTH), :2] for face in faces if face is not None])
    inside = ((at >= 0) & (at < size)).all(axis=2).sum(axis=1)
    most = int(inside.max())
    if most < len(_MOUTH) // 2:
        return []
    return [index for index, count in zip(frames, inside, strict=True) if count == most]
