"""Which source frame each output frame shows, and how long the output is."""

from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from typing import Any, get_args

import numpy as np
import pytest
from av.container import InputContainer

from contracts.lipsync import LengthMode, LipSyncOptions
from gpu_service.data import Sound
from gpu_service.media.container import frames_of
from gpu_service.media.decode import decode_face
from gpu_service.timeline import (
    Timeline,
    fit_sound,
    needed_frames,
    output_fps,
    plan,
    shown_frames,
    speech_frames,
)
from tests.media import (
    Film,
    Photo,
    filmed,
    media_file,
    number_of,
    numbered,
    picture,
    recorded,
    saved,
    tone,
)

FPS = Fraction(25)
MODES: tuple[LengthMode, ...] = get_args(LengthMode)


def silent(num_samples: int, sample_rate: int) -> Sound:
    return recorded(np.zeros((1, num_samples), np.float32), sample_rate)


def order(num_spoken: int, num_filmed: int, mode: LengthMode) -> list[int]:
    timeline = plan(FPS, num_spoken, num_filmed, mode)
    return [timeline.source_index(index) for index in range(timeline.num_frames)]


@pytest.mark.parametrize(
    ("num_samples", "fps", "num_frames"),
    [(1, 25, 1), (800, 25, 1), (16_000, 25, 25), (16_000 * 600, 29.97, 17_982), (16_000, 12.5, 12)],
)
def test_a_photo_lasts_as_long_as_the_sound_at_the_rate_asked_for(
    num_samples: int, fps: float, num_frames: int
) -> None:
    photo = decode_face(saved(picture(), "PNG"), 1080)
    rate = output_fps(photo, LipSyncOptions(fps=fps))
    timeline = plan(rate, speech_frames(silent(num_samples, 16_000), rate), 1, "loop")
    assert float(timeline.fps) == pytest.approx(fps)
    assert timeline.num_frames == num_frames
    if num_samples > 16_000 / fps:
        assert abs(timeline.seconds - num_samples / 16_000) <= 0.5 / fps + 1e-9


def test_a_video_keeps_its_own_rate() -> None:
    video = decode_face(media_file("mp4", video="libx264"), 1080)
    assert output_fps(video, LipSyncOptions(fps=50)) == Fraction(25)


@pytest.mark.parametrize(
    ("mode", "num_spoken", "num_filmed", "shown"),
    [
        ("loop", 7, 3, [0, 1, 2, 0, 1, 2, 0]),
        ("loop", 2, 3, [0, 1]),
        ("bounce", 9, 4, [0, 1, 2, 3, 2, 1, 0, 1, 2]),
        ("bounce", 4, 2, [0, 1, 0, 1]),
        ("bounce", 3, 5, [0, 1, 2]),
        ("cut_off", 7, 3, [0, 1, 2]),
        ("cut_off", 2, 3, [0, 1]),
        ("silence", 5, 3, [0, 1, 2, 2, 2]),
        ("silence", 2, 4, [0, 1, 2, 3]),
        ("remap", 6, 3, [0, 0, 1, 1, 2, 2]),
        ("remap", 3, 6, [0, 2, 4]),
    ],
)
def test_each_mode_has_its_order(
    mode: LengthMode, num_spoken: int, num_filmed: int, shown: list[int]
) -> None:
    assert order(num_spoken, num_filmed, mode) == shown


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("num_spoken", "num_filmed"), [(1, 1), (100, 1), (1, 100), (97, 31)])
def test_every_mode_shows_frames_that_there_are(
    mode: LengthMode, num_spoken: int, num_filmed: int
) -> None:
    shown = order(num_spoken, num_filmed, mode)
    assert shown[0] == 0
    assert set(shown) <= set(range(num_filmed))
    needed = needed_frames(num_spoken, mode)
    assert needed is None or max(shown) < needed


def test_a_bounce_never_jumps() -> None:
    assert {abs(one - other) for one, other in pairwise(order(500, 31, "bounce"))} == {1}


def test_a_remap_plays_every_frame_alike() -> None:
    counts = Counter(order(1000, 300, "remap"))
    assert len(counts) == 300
    assert set(counts.values()) == {3, 4}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("seconds", [0.3, 1.0, 2.7])
def test_the_sound_ends_with_the_picture(mode: LengthMode, seconds: float) -> None:
    sound = recorded(tone(seconds, 44_100, 2), 44_100)
    timeline = plan(FPS, speech_frames(sound, FPS), 25, mode)
    fitted = fit_sound(sound, timeline)
    assert abs(fitted.seconds - timeline.seconds) <= 0.5 / FPS + 1e-4
    kept = min(fitted.samples.shape[1], sound.samples.shape[1])
    np.testing.assert_array_equal(fitted.samples[:, :kept], sound.samples[:, :kept])
    assert not fitted.samples[:, kept:].any()
    assert speech_frames(fitted, FPS) == timeline.num_frames


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("num_spoken", "num_filmed"), [(40, 7), (5, 7), (7, 1), (3, 2)])
def test_frames_are_shown_in_the_order_of_their_indexes(
    mode: LengthMode, num_spoken: int, num_filmed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gpu_service.timeline.BACKWARD_BYTES", 3 * 48)  # three frames at a time
    frames = [np.full((4, 4, 3), number, np.uint8) for number in range(num_filmed)]
    timeline = plan(FPS, num_spoken, num_filmed, mode)
    shown = [int(frame[0, 0, 0]) for frame in shown_frames(Film(*frames), timeline)]
    assert shown == order(num_spoken, num_filmed, mode)


def test_a_video_played_backwards_is_not_decoded_from_its_start_again_and_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gpu_service.timeline.BACKWARD_BYTES", 10 * 3 * 64 * 64)
    video = decode_face(filmed([numbered(n) for n in range(200)], keyframe_every=20), 1080)
    assert len(list(video.frames())) == 200
    decoded = 0

    def counted(container: InputContainer, stream: Any) -> Iterator[Any]:
        nonlocal decoded
        for frame in frames_of(container, stream):
            decoded += 1
            yield frame

    monkeypatch.setattr("gpu_service.media.video.frames_of", counted)
    shown = [number_of(frame) for frame in shown_frames(video, plan(FPS, 399, 200, "bounce"))]
    assert shown == [*range(200), *range(198, -1, -1)]
    # Ten frames a stretch, and at most a keyframe's distance before them.
    assert decoded <= 200 + 20 * (20 + 10)


def test_a_photo_is_shown_in_every_frame() -> None:
    frame = np.zeros((4, 4, 3), np.uint8)
    assert len(list(shown_frames(Photo(frame), Timeline(FPS, 30)))) == 30
