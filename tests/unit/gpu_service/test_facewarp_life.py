"""Sway, nods, blinks and breath, as tracks over time."""

from fractions import Fraction

import numpy as np
import pytest
from numpy.typing import NDArray

from gpu_service.data import SPEECH_RATE, Samples
from gpu_service.engines.facewarp import mouth
from gpu_service.engines.facewarp.life.life import LOOK_AHEAD_SECONDS, Life
from gpu_service.engines.facewarp.life.pose import AS_IN_THE_PHOTO, LARGEST_SHIFT, LARGEST_TURN
from tests.media import babble, sample_speech, silence

YAW, PITCH, ROLL, X, Y, BROW, BLINK = range(7)


def poses(speech: Samples, seed: int = 0, fps: int = 100) -> NDArray[np.float64]:
    """(num_frames, 7) of a speech that is heard as a live one is: a little at a time."""
    life = Life(seed)
    track, heard = [], 0
    for index in range(len(speech) * fps // SPEECH_RATE):
        needed = int((Fraction(index, fps) + LOOK_AHEAD_SECONDS) * SPEECH_RATE)
        if needed > heard:
            life.take(speech[heard:needed])
            heard = needed
        if heard >= len(speech):
            life.finish()
        track.append(life.pose(index / fps))
    return np.array(track)


def blinks(track: NDArray[np.float64]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows in which the lids leave their rest, and in which they are back."""
    moving = np.concatenate(([False], track[:, BLINK] > 0, [False]))
    return np.flatnonzero(moving[1:] & ~moving[:-1]), np.flatnonzero(moving[:-1] & ~moving[1:])


@pytest.fixture(scope="module")
def idle() -> NDArray[np.float64]:
    """Ten minutes of silence."""
    return poses(silence(600))


@pytest.fixture(scope="module")
def speech() -> Samples:
    """Two minutes of phrases with pauses between them."""
    phrases = [
        (sample_speech(), silence(1.0), babble(2.5, seed), silence(0.6)) for seed in range(12)
    ]
    return np.concatenate([piece for phrase in phrases for piece in phrase])


@pytest.fixture(scope="module")
def speaking(speech: Samples) -> NDArray[np.float64]:
    return poses(speech)


def test_a_pose_waits_for_no_more_speech_than_the_engine_does() -> None:
    assert LOOK_AHEAD_SECONDS <= mouth.LOOK_AHEAD_SECONDS
    life = Life(0)
    life.take(silence(float(LOOK_AHEAD_SECONDS)))
    life.pose(0.0)
    with pytest.raises(RuntimeError):
        life.pose(0.05)


def test_it_begins_as_in_the_photo_and_eases_in(speaking: NDArray[np.float64]) -> None:
    assert tuple(speaking[0]) == AS_IN_THE_PHOTO
    assert np.abs(speaking[:10, :5]).max() < 0.05
    assert not speaking[:60, BLINK].any()


def test_the_same_seed_gives_the_same_motion_and_another_seed_another() -> None:
    said = babble(6)
    once = poses(said, seed=3)
    np.testing.assert_array_equal(poses(said, seed=3), once)
    other = poses(said, seed=4)
    assert np.abs(other - once)[:, [YAW, PITCH, ROLL]].max(axis=0).min() > 0.3


def test_cuts_of_the_speech_change_nothing() -> None:
    said = np.concatenate((silence(0.5), babble(3), silence(0.5)))
    whole = Life(0)
    whole.take(said)
    whole.finish()
    np.testing.assert_array_equal(
        poses(said, fps=25), [whole.pose(index / 25) for index in range(100)]
    )


def test_any_frame_rate_shows_the_same_motion() -> None:
    said = babble(4)
    finest = poses(said, fps=100)
    for fps in (25, 50):
        np.testing.assert_allclose(poses(said, fps=fps), finest[:: 100 // fps], atol=1e-9)
    np.testing.assert_allclose(poses(said, fps=30)[::3], finest[::10], atol=1e-9)


def test_the_level_of_the_speech_changes_nothing_to_speak_of() -> None:
    said = sample_speech()
    soft = poses(said * np.float32(10 ** (-30 / 20)))
    # A twentieth of a degree is left of the moment in which nothing louder was known yet.
    np.testing.assert_allclose(soft, poses(said), atol=0.05)


def test_an_idle_face_stays_alive_and_does_not_drift(idle: NDArray[np.float64]) -> None:
    minutes = idle[:, :3].reshape(10, -1, 3)
    assert minutes.std(axis=1).min() > 0.2
    assert np.abs(minutes.mean(axis=1)).max() < 1.2
    assert np.abs(idle[:, :3]).max() <= LARGEST_TURN
    assert np.abs(idle[:, X : Y + 1]).max() <= LARGEST_SHIFT


def test_idle_motion_does_not_repeat(idle: NDArray[np.float64]) -> None:
    yaw = idle[::10, YAW] - idle[:, YAW].mean()
    spectrum = np.abs(np.fft.rfft(yaw, 2 * len(yaw))) ** 2
    likeness = np.fft.irfft(spectrum)[: len(yaw) // 2]
    # Beyond the next posture nothing is alike, at no lag up to five minutes.
    assert np.abs(likeness[100:]).max() < 0.35 * likeness[0]


def test_a_head_moves_more_in_speech_than_in_silence(
    idle: NDArray[np.float64], speaking: NDArray[np.float64]
) -> None:
    def quickness(track: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.abs(np.diff(track[:, :3], axis=0)).mean(axis=0)

    assert (quickness(speaking) > 1.4 * quickness(idle)).all()
    sd = speaking[:, :3].std(axis=0)
    assert (sd > (1.0, 0.7, 0.5)).all()
    assert (sd < (2.5, 1.7, 1.5)).all()


def test_breath_is_slow(idle: NDArray[np.float64]) -> None:
    rise = idle[:, Y] - idle[:, Y].mean()
    spectrum = np.abs(np.fft.rfft(rise * np.hanning(len(rise)))) ** 2
    hz = np.fft.rfftfreq(len(rise), 0.01)
    band = (hz > 0.17) & (hz < 0.30)
    assert spectrum[band].sum() > 0.4 * spectrum[1:].sum()


def test_stressed_syllables_are_nodded(speech: Samples, speaking: NDArray[np.float64]) -> None:
    silent = poses(np.zeros_like(speech))

    def nodding(track: NDArray[np.float64]) -> float:
        """Spread of the pitch between 0.8 and 3 Hz, where neither sway nor breath is."""
        spectrum = np.fft.rfft(track[:, PITCH])
        hz = np.fft.rfftfreq(len(track), 0.01)
        return float(np.fft.irfft(spectrum * ((hz > 0.8) & (hz < 3))).std())

    assert nodding(speaking) > 3 * nodding(silent)


def test_brows_rise_now_and_then_and_only_in_speech(
    idle: NDArray[np.float64], speaking: NDArray[np.float64]
) -> None:
    assert not idle[:, BROW].any()
    raised = speaking[:, BROW] > 0.2
    assert 0.02 < raised.mean() < 0.35
    assert speaking[:, BROW].max() <= 1


@pytest.mark.parametrize("state", ["idle", "speaking"])
def test_blinks_come_and_last_as_peoples_do(state: str, request: pytest.FixtureRequest) -> None:
    track = request.getfixturevalue(state)
    starts, ends = blinks(track)
    assert 11 < len(starts) / (len(track) / 6000) < 26
    lengths = (ends - starts) / 100
    assert lengths.min() > 0.2
    assert lengths.max() < 0.45
    gaps = np.diff(starts) / 100
    assert 0.25 < gaps.std() / gaps.mean() < 1.0
    assert gaps.max() < 11
    for start, end in zip(starts[:-1], ends[:-1], strict=True):
        lids = track[start:end, BLINK]
        shut = np.flatnonzero(lids > 0.98)
        closing, opening = shut[0], len(lids) - shut[-1]
        assert closing < opening
        assert 0.02 < len(shut) / 100 < 0.14


def test_a_video_of_25_frames_sees_every_blink_shut() -> None:
    fine, seen = poses(silence(120)), poses(silence(120), fps=25)
    starts, ends = blinks(fine)
    for start, end in zip(starts, ends, strict=True):
        assert seen[start // 4 : end // 4 + 2, BLINK].max() > 0.9


def test_nothing_jumps_where_speech_begins_or_ends(speaking: NDArray[np.float64]) -> None:
    speed = np.diff(speaking, axis=0) * 100
    acceleration = np.diff(speed, axis=0) * 100
    # Nods of people turn at some tens of degrees a second, and take 0.1 s to reach it.
    assert np.abs(speed[:, :3]).max() < 30
    assert np.abs(acceleration[:, :3]).max() < 400
    assert np.abs(speed[:, X : Y + 1]).max() < 0.05
    assert np.abs(speed[:, BROW]).max() < 12


def test_hours_take_no_more_memory_than_seconds() -> None:
    life = Life(0)
    for second in range(300):
        life.take(silence(1.0))
        life.pose(second + 0.7)
    held = [value for value in vars(life).values() if hasattr(value, "__len__")]
    assert max(len(value) for value in held) < 200
