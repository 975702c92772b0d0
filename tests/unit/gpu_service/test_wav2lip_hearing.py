"""What the network hears for each frame, and what becomes of the pauses."""

from fractions import Fraction

import numpy as np
import pytest

from gpu_service.audio.mel import wav2lip_mel
from gpu_service.data import SPEECH_RATE, Samples, SpeechChunk, num_frames
from gpu_service.engines.wav2lip.hearing import LOOK_AHEAD_SECONDS, Silencer, batch_size, hear
from gpu_service.engines.wav2lip.preprocess import Floats
from tests.media import Counted, babble, cut, hiss, silence, vowel

FPS = Fraction(25)


def windows(samples: Samples, fps: Fraction = FPS, silencer: Silencer | None = None) -> Floats:
    heard = list(hear([SpeechChunk(samples)], fps, silencer))
    return np.concatenate([each.windows for each in heard])


@pytest.mark.parametrize("fps", [FPS, Fraction(30000, 1001), Fraction(50), Fraction(12)])
@pytest.mark.parametrize("num_samples", [0, 1, 800, 3_200, 16_000, 17_333])
def test_every_frame_of_the_speech_has_its_window(fps: Fraction, num_samples: int) -> None:
    assert windows(babble(1.2)[:num_samples], fps).shape == (
        num_frames(num_samples, fps), 1, 80, 16,
    )  # fmt: skip


def test_windows_are_those_of_the_release_and_run_into_silence_at_the_end() -> None:
    samples = babble(1.0)
    mel = wav2lip_mel(samples)
    found = windows(samples)
    for index in range(25):
        start = int(index * (80.0 / 25.0))
        expected = mel[:, start : start + 16]
        np.testing.assert_array_equal(found[index, 0, :, : expected.shape[1]], expected)
        assert (found[index, 0, :, expected.shape[1] :] == -4).all()


@pytest.mark.parametrize("fps", [FPS, Fraction(60), Fraction(10), Fraction(2)])
def test_windows_come_within_the_look_ahead_however_the_speech_is_cut(fps: Fraction) -> None:
    whole = windows(babble(1.5), fps)
    for lengths in ([80], [1999, 3, 700]):
        counted = Counted(cut(SpeechChunk(babble(1.5)), lengths))
        found = []
        for heard in hear(counted, fps, None):
            ahead = counted.num_samples / SPEECH_RATE - heard.first_index / fps
            assert ahead <= LOOK_AHEAD_SECONDS + max(lengths) / SPEECH_RATE
            found.append(heard.windows)
        np.testing.assert_array_equal(np.concatenate(found), whole)


def test_batches_use_the_look_ahead_and_are_never_empty() -> None:
    assert [batch_size(Fraction(fps)) for fps in (1, 10, 25, 60)] == [1, 1, 3, 6]


def test_noise_in_a_pause_is_heard_as_silence_and_speech_as_it_is() -> None:
    samples = np.concatenate((silence(0.5), vowel("a", 1.0), silence(1.5), vowel("i", 0.5)))
    samples += hiss(len(samples) / SPEECH_RATE, level=0.0003)[: len(samples)]
    plain, quiet = windows(samples), windows(samples, silencer=Silencer())
    spoken = slice(13, 33)
    np.testing.assert_array_equal(quiet[spoken], plain[spoken])
    for pause in (range(7), range(43, 68)):
        assert (plain[list(pause)] > -4).any()
        assert (quiet[list(pause)] == -4).all()
    np.testing.assert_array_equal(quiet[77:85], plain[77:85])


def test_speech_fades_out_and_comes_in_at_once() -> None:
    share = Silencer()
    loud, noise = np.full((80, 1), 2.0, np.float32), np.full((80, 1), -2.5, np.float32)
    mel = share.take(np.concatenate([loud] * 5 + [noise] * 20 + [loud], axis=1))[0] + 4
    assert (mel[:5] == 6).all()
    assert (np.diff(mel[5:16]) < 0).all()
    assert (mel[17:25] == 0).all()
    assert mel[25] == 6


def test_a_quiet_speaker_is_heard() -> None:
    quiet = 0.1 * babble(1.0)
    plain, heard = windows(quiet), windows(quiet, silencer=Silencer())
    assert (heard == plain).mean() > 0.6
