"""Which moments the output shows: its frame rate, its length, and the source frame of each."""

from collections.abc import Iterator
from fractions import Fraction
from typing import Final, NamedTuple

import numpy as np

from contracts.lipsync import LengthMode, LipSyncOptions
from gpu_service.data import FaceSource, Frame, Sound, num_frames

BACKWARD_BYTES: Final = 128_000_000
"""Most memory that frames take while a video is shown backwards."""


class Timeline(NamedTuple):
    """The output's frames in time, and where each comes from."""

    fps: Fraction
    num_frames: int
    num_source_frames: int = 1
    """How many frames of the face there are to show."""
    length_mode: LengthMode = "loop"

    @property
    def seconds(self) -> float:
        """How long the output lasts."""
        return float(self.num_frames / self.fps)

    def source_index(self, frame_index: int) -> int:
        """The source frame that an output frame shows."""
        last = self.num_source_frames - 1
        match self.length_mode:
            case "loop":
                return frame_index % self.num_source_frames
            case "bounce":
                # The frames at which it turns are shown once a turn, so that nothing stands still.
                back = frame_index % max(2 * last, 1)
                return min(back, 2 * last - back)
            case "remap":
                return min(frame_index * self.num_source_frames // self.num_frames, last)
            case "cut_off" | "silence":
                return min(frame_index, last)


def output_fps(source: FaceSource, options: LipSyncOptions) -> Fraction:
    """A video keeps its rate; a photo takes the rate that was asked for."""
    return source.fps or Fraction(options.fps).limit_denominator(1001)


def speech_frames(sound: Sound, fps: Fraction) -> int:
    """How many frames show the whole sound."""
    return num_frames(sound.samples.shape[1], fps, sound.sample_rate)


def needed_frames(num_speech_frames: int, mode: LengthMode) -> int | None:
    """How many source frames can be shown at most; None where all of them are."""
    return None if mode in ("silence", "remap") else num_speech_frames


def plan(
    fps: Fraction, num_speech_frames: int, num_source_frames: int, mode: LengthMode
) -> Timeline:
    """Match a video of the face and a speech, whose lengths differ.

    `loop` starts a shorter video over, `bounce` turns it back and forth, `remap` plays it slower
    or faster: all three last as long as the speech. `cut_off` ends with the shorter of the two.
    `silence` ends with the longer: the speech is followed by silence, or the video's last frame is
    held. A photo is a video of one frame under `loop`.
    """
    length = num_speech_frames
    if mode == "cut_off":
        length = min(num_speech_frames, num_source_frames)
    elif mode == "silence":
        length = max(num_speech_frames, num_source_frames)
    return Timeline(fps, length, num_source_frames, mode)


def fit_sound(sound: Sound, timeline: Timeline) -> Sound:
    """The sound as the output plays it: cut, or followed by silence, where the mode asks for it."""
    if timeline.num_frames == speech_frames(sound, timeline.fps):
        return sound
    length = round(timeline.num_frames / timeline.fps * sound.sample_rate)
    kept = sound.samples[:, :length]
    missing = length - kept.shape[1]
    return Sound(np.pad(kept, ((0, 0), (0, missing))) if missing else kept, sound.sample_rate)


def shown_frames(source: FaceSource, timeline: Timeline) -> Iterator[Frame]:
    """The source frame of each output frame, in the output's order; never all in memory."""
    run: list[int] = []
    for index in map(timeline.source_index, range(timeline.num_frames)):
        if run and (index - run[-1]) * (run[-1] - run[0]) < 0:
            yield from _run(source, run)
            run = []
        run.append(index)
    yield from _run(source, run)


def _run(source: FaceSource, indexes: list[int]) -> Iterator[Frame]:
    """Frames whose indexes only grow, or only fall."""
    if not indexes:
        return
    if indexes[0] <= indexes[-1]:
        yield from _forward(source, indexes)
        return
    # A decoder only runs forward, so a stretch at a time is decoded and shown from its end.
    stretch = max(1, BACKWARD_BYTES // (3 * source.width * source.height))
    for start in range(0, len(indexes), stretch):
        part = indexes[start : start + stretch]
        yield from reversed(list(_forward(source, part[::-1])))


def _forward(source: FaceSource, indexes: list[int]) -> Iterator[Frame]:
    frames = enumerate(source.frames(indexes[0]), indexes[0])
    position, frame = next(frames)
    for index in indexes:
        while position < index:
            position, frame = next(frames)
        yield frame
