"""How many frames show a sound."""

from fractions import Fraction

import numpy as np
import pytest

from contracts.lipsync import LipSyncOptions
from gpu_service.data import Sound
from gpu_service.media.decode import decode_face
from gpu_service.timeline import plan
from tests.media import media_file, picture, saved


def silent(num_samples: int, sample_rate: int) -> Sound:
    return Sound(np.zeros((1, num_samples), np.float32), sample_rate)


@pytest.mark.parametrize(
    ("num_samples", "fps", "num_frames"),
    [(1, 25, 1), (800, 25, 1), (16_000, 25, 25), (16_000 * 600, 29.97, 17_982), (16_000, 12.5, 12)],
)
def test_a_photo_lasts_as_long_as_the_sound_at_the_rate_asked_for(
    num_samples: int, fps: float, num_frames: int
) -> None:
    photo = decode_face(saved(picture(), "PNG"), 1080)
    timeline = plan(photo, silent(num_samples, 16_000), LipSyncOptions(fps=fps))
    assert float(timeline.fps) == pytest.approx(fps)
    assert timeline.num_frames == num_frames
    if num_samples > 16_000 / fps:
        assert abs(timeline.seconds - num_samples / 16_000) <= 0.5 / fps + 1e-9


def test_a_video_keeps_its_own_rate() -> None:
    video = decode_face(media_file("mp4", video="libx264"), 1080)
    assert plan(video, silent(16_000, 16_000), LipSyncOptions(fps=50)).fps == Fraction(25)
