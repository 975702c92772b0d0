"""Wav2Lip: draws the lower half of a face anew, for photos and videos."""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final

from contracts.errors import NoFaceFound, OptionRejected
from contracts.lipsync import EngineInfo, LipSyncOptions
from gpu_service.data import Box, FacePatch, FaceTrack, Progress, SpeechChunk
from gpu_service.engines.wav2lip.boxes import face_boxes
from gpu_service.engines.wav2lip.crops import Crops
from gpu_service.engines.wav2lip.generator import ANYWHERE, Generator, Seen, load_generator
from gpu_service.engines.wav2lip.hearing import LOOK_AHEAD_SECONDS, Silencer, hear
from gpu_service.engines.wav2lip.paste import Area, paste_box
from gpu_service.engines.wav2lip.preprocess import crop_face, network_faces
from gpu_service.settings import Compute
from gpu_service.weights.store import WeightsStore

CHECKPOINTS: Final = ("wav2lip_gan", "wav2lip")
"""Those that the engine can use, the default first."""


@dataclass(frozen=True)
class Wav2LipAvatar:
    """A face that is ready to speak."""

    track: FaceTrack
    boxes: Sequence[Box | None]
    """What the network sees of each source frame; None where there is no face."""
    crops: Crops
    """The boxes' pixels, so that rendering needs no frames."""
    generator: Generator


class Wav2LipEngine:
    """Draws mouths with one of Wav2Lip's published checkpoints.

    Args:
        weights: Where the checkpoints are.
        compute: Where and how the network is to run.
        load: Makes a generator of an installed file.

    Raises:
        CheckpointMissing: Neither checkpoint is installed.
        CheckpointMismatch: The checkpoint holds something else.
        EngineUnavailable: What should run it is not installed or does not run here.
    """

    info: ClassVar[EngineInfo] = EngineInfo(
        name="wav2lip",
        title="Wav2Lip: speaks with photos and videos of a face, in any language.",
        version="1",
        accepts=("photo", "video"),
        streaming=True,
        look_ahead_seconds=float(LOOK_AHEAD_SECONDS),
        needs=("the checkpoint wav2lip_gan or wav2lip", "PyTorch, but for exports"),
        licence="research and personal use only, not commercial (trained on LRS2)",
        options=("checkpoint", "detector", "pads", "paste"),
        checkpoints=CHECKPOINTS,
    )

    def __init__(
        self,
        weights: WeightsStore,
        compute: Compute = ANYWHERE,
        load: Callable[[Path, Compute], Generator] = load_generator,
    ) -> None:
        self._weights = weights
        self._compute, self._load = compute, load
        self._loaded: dict[Path, Generator] = {}
        self._lock = threading.Lock()
        # Loaded now, so that a file that does not fit makes the engine unready, and `auto` takes
        # the next one.
        self._runtime = self._generator(self._checkpoint(None)).runtime

    @property
    def device(self) -> str:
        """Where the network runs."""
        return self._runtime.device

    @property
    def runtime(self) -> str:
        """What runs it."""
        return self._runtime.name

    @property
    def precision(self) -> str:
        """What it computes in."""
        return self._runtime.precision

    def prepare(
        self, track: FaceTrack, options: LipSyncOptions, progress: Progress
    ) -> Wav2LipAvatar:
        """Cut the face out of every source frame.

        Raises:
            NoFaceFound: No source frame shows a face, or none that stands upright.
            CheckpointMissing: The checkpoint that was asked for is not installed.
            CheckpointMismatch: It holds something else.
        """
        if not any(track.faces):
            raise NoFaceFound("no face was found in the picture")
        generator = self._generator(self._checkpoint(options.checkpoint))
        source, num_frames = track.source, len(track.faces)
        boxes = face_boxes(track, options)
        if not any(boxes):
            raise NoFaceFound(
                "the face does not stand upright, and wav2lip draws upright mouths only",
                hint="Turn the picture until the face stands upright.",
            )
        crops = Crops()
        for index, (box, frame) in enumerate(zip(boxes, source.frames(), strict=False)):
            if box is not None:
                crops[index] = crop_face(frame, box)
            progress("prepare", index + 1, num_frames)
        return Wav2LipAvatar(track, boxes, crops, generator)

    def render(
        self, avatar: Wav2LipAvatar, speech: Iterable[SpeechChunk], options: LipSyncOptions
    ) -> Iterator[FacePatch]:
        """Draw the mouth of every frame that shows the face."""
        blend = options.paste == "blend"
        areas, views = _Areas(avatar), _Views(avatar)
        painter = avatar.generator.painter()
        for heard in hear(speech, avatar.track.fps, Silencer() if blend else None):
            shown = [
                (offset, avatar.track.shown(heard.first_index + offset))
                for offset in range(len(heard.windows))
            ]
            seen = [(offset, index) for offset, index in shown if avatar.boxes[index] is not None]
            if not seen:
                continue
            offsets, indexes = (list(each) for each in zip(*seen, strict=True))
            mel, frames = heard.windows[offsets], [heard.first_index + each for each in offsets]
            if blend:
                mouths = avatar.generator.mouths(mel, views.of(indexes))
                places = [areas.of(index) for index in indexes]
                painted = painter.paint(mouths, places)
                for frame_index, area, pixels in zip(frames, places, painted, strict=True):
                    yield FacePatch(frame_index, area.box, pixels, area.alpha)
                continue
            faces = avatar.generator.draw_faces(mel, network_faces(avatar.crops.of(indexes)))
            for frame_index, index, face in zip(frames, indexes, faces, strict=True):
                box = avatar.boxes[index]
                if box is not None:
                    yield paste_box(frame_index, box, face)

    def _checkpoint(self, wanted: str | None) -> Path:
        if wanted:
            if wanted not in CHECKPOINTS:
                raise OptionRejected(
                    f"wav2lip has no checkpoint {wanted!r}",
                    hint=f"Its checkpoints are: {', '.join(CHECKPOINTS)}.",
                    field="checkpoint",
                )
            return self._weights.require(wanted, "checkpoint")
        for name in CHECKPOINTS:
            path = self._weights.find(name)
            if path is not None:
                return path
        return self._weights.require(CHECKPOINTS[0])

    def _generator(self, path: Path) -> Generator:
        with self._lock:
            if path not in self._loaded:
                self._loaded[path] = self._load(path, self._compute)
            return self._loaded[path]


class _Views:
    """What the generator makes of source frames; the last is kept, for a photo has only one."""

    def __init__(self, avatar: Wav2LipAvatar) -> None:
        self._avatar = avatar
        self._index = -1
        self._seen: Seen = ()

    def of(self, indexes: Sequence[int]) -> Seen:
        """The frames' faces, or the one face that all of them show."""
        avatar = self._avatar
        if len(set(indexes)) > 1:
            return avatar.generator.see(network_faces(avatar.crops.of(indexes)))
        if indexes[0] != self._index:
            self._index = indexes[0]
            self._seen = avatar.generator.see(network_faces(avatar.crops.of(indexes[:1])))
        return self._seen


class _Areas:
    """Where mouths are pasted in source frames; the last is kept, for a photo has only one."""

    def __init__(self, avatar: Wav2LipAvatar) -> None:
        self._avatar = avatar
        self._index = -1
        self._area: Area | None = None

    def of(self, index: int) -> Area:
        """The area in a source frame that shows the face."""
        if index != self._index or self._area is None:
            face, box = self._avatar.track.faces[index], self._avatar.boxes[index]
            if face is None or box is None:
                raise AssertionError(f"source frame {index} shows no face")
            self._area = Area(box, self._avatar.crops[index], face.landmarks)
            self._index = index
        return self._area
