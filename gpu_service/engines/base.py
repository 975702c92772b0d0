"""What every engine is to the road."""

from collections.abc import Iterable, Iterator
from typing import ClassVar, Protocol, TypeVar

from contracts.lipsync import EngineInfo, LipSyncOptions
from gpu_service.data import FacePatch, FaceTrack, Progress, SpeechChunk

AvatarT = TypeVar("AvatarT")


class Engine(Protocol[AvatarT]):
    """Draws a speaking face.

    One object serves every render of its process, so it keeps nothing of a render in itself.
    """

    info: ClassVar[EngineInfo]

    def prepare(self, track: FaceTrack, options: LipSyncOptions, progress: Progress) -> AvatarT:
        """Do once what every frame of this face needs.

        What it gives is kept for the face's next speech, by the options that `info.options` names,
        and several renders may use it at once: nothing changes it. It is kept for every seed:
        `options.seed` is for `render` alone.

        Raises:
            NoFaceFound: No source frame shows a face that the engine can use.
        """

    def render(
        self, avatar: AvatarT, speech: Iterable[SpeechChunk], options: LipSyncOptions
    ) -> Iterator[FacePatch]:
        """Draw the frames that show the speech, in order, as the speech arrives.

        The speech may be cut anywhere, and no cut changes a frame. Frame i is yielded after at
        most i/fps + `info.look_ahead_seconds` of speech was taken. When the speech ends, frames
        up to `num_frames(samples, fps)` have been yielded; a frame index that is left out shows
        the source frame as it is. The thread that iterates need not be the one that prepared; only
        it may close the iterator.
        """
