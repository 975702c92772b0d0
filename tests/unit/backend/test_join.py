import numpy as np
import pytest

from backend.speech.base import Spoken
from backend.speech.join import LEAD_SECONDS, LEVEL_DBFS, PEAK_DBFS, TAIL_SECONDS, join
from contracts.errors import TextRejected
from contracts.marks import PhonemeMark

RATE = 22_050


def spoken(amplitude, *, rest=0.0, seconds=0.5, marks=None):
    time = np.arange(round(seconds * RATE)) / RATE
    tone = np.sin(2 * np.pi * 200 * time) * amplitude
    quiet = np.zeros(round(rest * RATE))
    samples = np.concatenate([quiet, tone, quiet])
    return Spoken(np.round(samples * 32767).astype(np.int16), RATE, marks)


def level(samples):
    return 20 * np.log10(np.sqrt(np.mean((samples / 32768.0) ** 2)))


def test_loud_and_quiet_sentences_come_out_equally_loud():
    joined = join([spoken(0.9), spoken(0.02)], [0.35, 0.35])
    first = round((LEAD_SECONDS + 0.1) * RATE)
    second = round((LEAD_SECONDS + 0.5 + 0.35 + 0.1) * RATE)
    for begin in (first, second):
        piece = joined.samples[begin : begin + round(0.3 * RATE)]
        assert level(piece) == pytest.approx(LEVEL_DBFS, abs=0.5)


def test_a_single_peak_is_never_clipped():
    samples = np.zeros(RATE, np.int16)
    samples[::2000] = 3000
    joined = join([Spoken(samples, RATE, None)], [0.35])
    peak = 20 * np.log10(np.abs(joined.samples.astype(float)).max() / 32768)
    assert peak == pytest.approx(PEAK_DBFS, abs=0.1)


def test_pauses_lie_between_sentences_and_rest_at_both_ends():
    joined = join([spoken(0.5), spoken(0.5)], [0.35, 9.0])
    assert joined.seconds == pytest.approx(LEAD_SECONDS + 0.5 + 0.35 + 0.5 + TAIL_SECONDS, abs=0.01)
    assert not joined.samples[: round((LEAD_SECONDS - 0.01) * RATE)].any()
    assert not joined.samples[-round((TAIL_SECONDS - 0.01) * RATE) :].any()


def test_marks_follow_their_sounds_however_silence_is_cut():
    marks = (
        PhonemeMark(start=0.4, end=0.65, phoneme="m"),
        PhonemeMark(start=0.65, end=0.9, phoneme="a"),
    )
    sentence = spoken(0.5, rest=0.4, marks=marks)
    joined = join([sentence, sentence], [0.35, 0.35])
    loud = np.abs(joined.samples) > 300
    onsets = [
        i / RATE for i in range(RATE // 4, len(loud)) if loud[i] and not loud[i - 2000 : i].any()
    ]
    first, _, second, _ = joined.marks
    assert [first.start, second.start] == [pytest.approx(onset, abs=0.01) for onset in onsets]
    assert [mark.end - mark.start for mark in joined.marks] == [pytest.approx(0.25)] * 4


def test_marks_of_pauses_are_left_out():
    marks = (
        PhonemeMark(start=0, end=0.3, phoneme="a"),
        PhonemeMark(start=0.3, end=0.5, phoneme=""),
    )
    joined = join([spoken(0.5, marks=marks)], [0.35])
    assert [mark.phoneme for mark in joined.marks] == ["a"]


def test_a_voice_without_marks_gives_none():
    assert join([spoken(0.5)], [0.35]).marks is None


def test_text_that_gives_silence_alone_is_rejected():
    with pytest.raises(TextRejected):
        join([Spoken(np.zeros(RATE, np.int16), RATE, None)], [0.35])
