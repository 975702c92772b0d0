from itertools import cycle

import numpy as np
import pytest

from gpu_service.audio.mel import HOP, MelStream, wav2lip_mel
from gpu_service.data import Samples
from tests.media import babble, silence


def in_pieces(samples: Samples, lengths: tuple[int, ...]) -> np.ndarray:
    stream = MelStream()
    columns, start = [], 0
    for length in cycle(lengths):
        if start >= len(samples):
            break
        columns.append(stream.take(samples[start : start + length]))
        start += length
    return np.concatenate((*columns, stream.finish()), axis=1)


@pytest.mark.parametrize("lengths", [(1, 37, 640), (200,), (1999, 1), (16_000,)])
def test_columns_do_not_depend_on_how_the_speech_is_cut(lengths: tuple[int, ...]) -> None:
    speech = babble(1.3)
    assert np.array_equal(in_pieces(speech, lengths), wav2lip_mel(speech))


@pytest.mark.parametrize("num_samples", [0, 1, 199, 200, 401, 999, 1000, 1001, 16_000])
def test_a_speech_has_a_column_for_each_hop_and_one_more(num_samples: int) -> None:
    mel = wav2lip_mel(babble(1.0)[:num_samples])
    assert mel.shape == (80, 1 + num_samples // HOP)


def test_silence_is_the_lowest_level_and_nothing_exceeds_the_highest() -> None:
    assert np.all(wav2lip_mel(silence(0.3)) == -4)
    loud = wav2lip_mel(np.sign(babble(0.3)))
    assert loud.max() <= 4
    assert loud.max() > 2


def test_a_column_comes_with_little_more_speech_than_it_hears() -> None:
    speech = babble(1.0)
    stream = MelStream()
    num_columns = 0
    for end in range(40, len(speech) + 1, 40):
        num_columns += stream.take(speech[end - 40 : end]).shape[1]
        assert end < num_columns * HOP + 1000
