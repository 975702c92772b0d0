"""The built-in engine: a photo or a video of a face speaks by warping, on any CPU."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

from contracts.errors import NoFaceFound
from contracts.lipsync import EngineInfo, LipSyncOptions
from gpu_service.data import FacePatch, FaceTrack, Progress, SpeechChunk
from gpu_service.engines.facewarp.dub.dub import Dub, build_dub
from gpu_service.engines.facewarp.life.life import Life
from gpu_service.engines.facewarp.mouth import LOOK_AHEAD_SECONDS, mouth_shapes
from gpu_service.engines.facewarp.portrait import build_portrait
from gpu_service.engines.facewarp.renderer import Renderer


@dataclass(frozen=True)
class FacewarpAvatar:
    """A portrait that is ready to speak."""

    renderer: Renderer
    fps: Fraction
    """Frames per second of the video."""


class FacewarpEngine:
    """Moves a photo, or the mouth in a video; needs no weights and no GPU."""

    info: ClassVar[EngineInfo] = EngineInfo(
        name="facewarp",
        title="Built in: photos and videos of a face speak, with nothing to download.",
        version="2",
        accepts=("photo", "video"),
        streaming=True,
        look_ahead_seconds=float(LOOK_AHEAD_SECONDS),
        licence="Apache-2.0",
        options=("motion", "seed"),
    )

    def prepare(
        self, track: FaceTrack, options: LipSyncOptions, progress: Progress
    ) -> FacewarpAvatar | Dub:
        """Build the portrait of the face, and of a video also what moves in it.

        Raises:
            NoFaceFound: The photo or the video shows no face with its mouth.
        """
        if track.source.kind == "video":
            return build_dub(track, progress)
        frame, face = next(track.source.frames(), None), next(iter(track.faces), None)
        if frame is None or face is None:
            raise NoFaceFound("no face was found in the picture")
        progress("prepare", 0, 1)
        lively = options.motion == "natural"
        renderer = Renderer(build_portrait(frame, face, lively=lively))
        progress("prepare", 1, 1)
        return FacewarpAvatar(renderer, track.fps)

    def render(
        self,
        avatar: FacewarpAvatar | Dub,
        speech: Iterable[SpeechChunk],
        options: LipSyncOptions,
    ) -> Iterator[FacePatch]:
        """Draw head, eyes and mouth of every frame."""
        if isinstance(avatar, Dub):
            yield from avatar.render(speech)
            return
        if options.motion == "still":
            for index, shape in enumerate(mouth_shapes(speech, avatar.fps)):
                yield FacePatch(index, avatar.renderer.box, avatar.renderer.render(shape))
            return
        life = Life(options.seed)
        for index, shape in enumerate(mouth_shapes(_heard(speech, life), avatar.fps)):
            pose = life.pose(float(index / avatar.fps))
            yield FacePatch(index, avatar.renderer.box, avatar.renderer.render(shape, pose))


def _heard(speech: Iterable[SpeechChunk], life: Life) -> Iterator[SpeechChunk]:
    """The speech, which the head hears as soon as the mouth does."""
    for chunk in speech:
        life.take(chunk.samples)
        yield chunk
    life.finish()
