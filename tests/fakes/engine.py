"""An engine that draws nothing but the frame's number."""

from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import ClassVar

import numpy as np

from contracts.lipsync import EngineInfo, LipSyncOptions
from gpu_service.data import (
    SPEECH_RATE,
    Box,
    FacePatch,
    FaceTrack,
    Progress,
    SpeechChunk,
    num_frames,
)

LOOK_AHEAD = Fraction(1, 10)


class CountingEngine:
    """Writes the frame's number into pixel (0, 0): low byte in blue, high byte in green."""

    info: ClassVar[EngineInfo] = EngineInfo(
        name="counting",
        title="Counts frames",
        version="1",
        accepts=("photo", "video"),
        streaming=True,
        look_ahead_seconds=float(LOOK_AHEAD),
        licence="Apache-2.0",
    )

    def prepare(self, track: FaceTrack, options: LipSyncOptions, progress: Progress) -> Fraction:
        """Remember the frame rate: the whole avatar."""
        progress("prepare", 1.0, 1.0)
        return track.fps

    def render(
        self, avatar: Fraction, speech: Iterable[SpeechChunk], options: LipSyncOptions
    ) -> Iterator[FacePatch]:
        """One patch a frame, as soon as the look-ahead was taken."""
        num_samples = index = 0
        for chunk in speech:
            num_samples += len(chunk.samples)
            while (index / avatar + LOOK_AHEAD) * SPEECH_RATE <= num_samples:
                yield numbered_patch(index)
                index += 1
        for late in range(index, num_frames(num_samples, avatar)):
            yield numbered_patch(late)


class PhotoEngine(CountingEngine):
    """Counts frames of photos, and refuses videos."""

    info: ClassVar[EngineInfo] = EngineInfo(
        name="photos-only",
        title="Photos only",
        version="1",
        accepts=("photo",),
        streaming=True,
        look_ahead_seconds=float(LOOK_AHEAD),
        licence="Apache-2.0",
    )


def numbered_patch(index: int) -> FacePatch:
    """A patch of one pixel in the frame's corner."""
    pixels = np.array([[[index % 256, index // 256, 0]]], np.uint8)
    return FacePatch(index, Box(0, 0, 1, 1), pixels)
