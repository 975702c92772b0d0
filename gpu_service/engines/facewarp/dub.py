"""Dubbing: a video's own mouth is replaced by one that speaks something else."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from contracts.errors import NoFaceFound
from gpu_service.data import FacePatch, FaceTrack, Progress, SpeechChunk
from gpu_service.engines.facewarp.dub_footage import Footage
from gpu_service.engines.facewarp.dub_landmarks import SeenLandmarks, choose_reference
from gpu_service.engines.facewarp.dub_motion import measure_motion
from gpu_service.engines.facewarp.dub_renderer import DubRenderer
from gpu_service.engines.facewarp.mouth import mouth_shapes
from gpu_service.engines.facewarp.portrait import build_portrait


@dataclass(frozen=True)
class Dub:
    """A video that is ready to speak."""

    track: FaceTrack
    renderer: DubRenderer

    def render(self, speech: Iterable[SpeechChunk]) -> Iterator[FacePatch]:
        """Draw the mouth of every frame that shows the face."""
        with Footage(self.track.source) as footage:
            for frame_index, shape in enumerate(mouth_shapes(speech, self.track.fps)):
                shown = self.track.shown(frame_index)
                if self.track.faces[shown] is None:
                    continue
                frame = footage.frame(shown)
                drawn = None if frame is None else self.renderer.render(frame, shown, shape)
                if drawn is not None:
                    yield FacePatch(frame_index, drawn.box, drawn.pixels)


def build_dub(track: FaceTrack, progress: Progress) -> Dub:
    """Prepare a video; one frame of it is decoded, however long it is.

    Raises:
        NoFaceFound: No source frame shows a face.
    """
    if not any(track.faces):
        raise NoFaceFound("no face was found in the video")
    progress("prepare", 0, 1)
    seen = SeenLandmarks(track)
    index = choose_reference(seen)
    face, landmarks = track.faces[index], seen[index]
    with Footage(track.source) as footage:
        frame = footage.frame(index)
    if face is None or landmarks is None or frame is None:
        raise NoFaceFound("the video ends before the frame that shows the face best")
    portrait = build_portrait(frame, replace(face, landmarks=landmarks))
    renderer = DubRenderer(portrait, measure_motion(portrait, landmarks, seen))
    progress("prepare", 1, 1)
    return Dub(track, renderer)
