import numpy as np
import pytest

from gpu_service.audio.speech_mel import NUM_BANDS, SpeechMel
from gpu_service.data import SPEECH_RATE, Samples
from tests.media import babble, silence


def rows_of(samples: Samples) -> np.ndarray:  # type: ignore[type-arg]
    return np.concatenate(list(SpeechMel().take(samples.astype(np.float32))))


@pytest.mark.parametrize("lengths", [[1], [159, 161], [640], [4001]])
def test_the_cuts_of_the_speech_change_no_bit(lengths: list[int]) -> None:
    speech, mel, rows = babble(1.0), SpeechMel(), []
    start = turn = 0
    while start < len(speech):
        end = start + lengths[turn % len(lengths)]
        rows += list(mel.take(speech[start:end]))
        start, turn = end, turn + 1
    assert np.array_equal(np.concatenate(rows), rows_of(speech))


@pytest.mark.parametrize("gain_db", [-30, -10, 5])
def test_rows_are_relative_to_the_speakers_level(gain_db: int) -> None:
    # Where nothing is silent: silence has no level that a gain could change.
    speech = babble(2.0) + 0.003 * np.random.default_rng(0).standard_normal(2 * SPEECH_RATE)
    np.testing.assert_allclose(rows_of(speech * 10 ** (gain_db / 20)), rows_of(speech), atol=0.05)


def test_each_band_hears_its_own_tone() -> None:
    seconds = np.arange(SPEECH_RATE // 2) / SPEECH_RATE
    loudest = [
        int(rows_of(0.1 * np.sin(2 * np.pi * hz * seconds))[5:].mean(axis=0).argmax())
        for hz in (100, 300, 700, 1500, 3000, 6000)
    ]
    assert loudest == sorted(set(loudest))
    assert loudest[0] <= 2
    assert loudest[-1] >= NUM_BANDS - 5


def test_a_pause_does_not_raise_the_noise_of_the_room() -> None:
    room = 0.0005 * np.random.default_rng(0).standard_normal(10 * SPEECH_RATE)
    rows = rows_of(np.concatenate((babble(2.0), silence(8.0))) + room)
    assert rows[-50:].max() - rows[250:300].max() < 0.25
