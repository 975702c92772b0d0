"""Which moments the output shows: its frame rate and how many frames it has."""

from fractions import Fraction
from typing import NamedTuple

from contracts.lipsync import LipSyncOptions
from gpu_service.data import FaceSource, Sound, num_frames


class Timeline(NamedTuple):
    """The output's frames in time."""

    fps: Fraction
    num_frames: int

    @property
    def seconds(self) -> float:
        """How long the output lasts."""
        return float(self.num_frames / self.fps)


def plan(source: FaceSource, sound: Sound, options: LipSyncOptions) -> Timeline:
    """As many frames as show the sound; a photo takes the rate that was asked for."""
    fps = source.fps or Fraction(options.fps).limit_denominator(1001)
    return Timeline(fps, num_frames(sound.samples.shape[1], fps, sound.sample_rate))
