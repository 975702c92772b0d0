"""Dubbing: a video's own mouth is replaced by one that speaks something else."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from contracts.errors import NoFaceFound
from gpu_service.data import FacePatch, FaceTrack, Landmarks, Progress, SpeechChunk
from gpu_service.engines.facewarp.dub.footage import Footage
from gpu_service.engines.facewarp.dub.landmarks import SeenLandmarks, choose_reference
from gpu_service.engines.facewarp.dub.motion import measure_motion
from gpu_service.engines.facewarp.dub.people import Part, Person, find_people
from gpu_service.engines.facewarp.dub.renderer import DubRenderer
from gpu_service.engines.facewarp.mouth import mouth_shapes
from gpu_service.engines.facewarp.portrait import build_portrait


class Seen(NamedTuple):
    """Who is in a source frame."""

    renderer: DubRenderer
    """The person's own."""
    frame_index: int
    """Which of the person's frames it is."""


@dataclass(frozen=True)
class Dub:
    """A video that is ready to speak."""

    track: FaceTrack
    people: Sequence[Seen | None]
    """Of every source frame; None where no face was found."""

    def render(self, speech: Iterable[SpeechChunk]) -> Iterator[FacePatch]:
        """Draw the mouth of every frame that shows the face."""
        with Footage(self.track.source) as footage:
            for frame_index, shape in enumerate(mouth_shapes(speech, self.track.fps)):
                shown = self.track.shown(frame_index)
                seen = self.people[shown]
                frame = footage.frame(shown) if seen else None
                if seen is None or frame is None:
                    continue
                drawn = seen.renderer.render(frame, seen.frame_index, shape)
                if drawn is not None:
                    yield FacePatch(frame_index, drawn.box, drawn.pixels)


def build_dub(track: FaceTrack, progress: Progress) -> Dub:
    """Prepare a video; one frame is decoded for each person in it, however long it is.

    Raises:
        NoFaceFound: No source frame shows a face, or all of them cut off its mouth.
    """
    if not any(track.faces):
        raise NoFaceFound("no face was found in the video")
    progress("prepare", 0, 1)
    landmarks = SeenLandmarks(track)
    found = find_people(track, landmarks)
    if not found:
        raise NoFaceFound("the picture's border cuts off the mouth in every frame of the video")
    people: list[Seen | None] = [None] * len(track.faces)
    with Footage(track.source) as footage:
        for done, person in enumerate(found, 1):
            renderer = _renderer(track, person, landmarks, footage)
            for index, shown in enumerate(person.frames):
                people[shown] = Seen(renderer, index)
            progress("prepare", done, len(found))
    return Dub(track, people)


def _renderer(
    track: FaceTrack, person: Person, landmarks: Sequence[Landmarks | None], footage: Footage
) -> DubRenderer:
    index = person.at_rest[choose_reference(Part(landmarks, person.at_rest))]
    face, reference, frame = track.faces[index], landmarks[index], footage.frame(index)
    if face is None or reference is None or frame is None:
        raise NoFaceFound("the video ends before the frame that shows the face best")
    portrait = build_portrait(frame, replace(face, landmarks=reference))
    motion = measure_motion(portrait, reference, Part(landmarks, person.frames))
    return DubRenderer(portrait, motion)
