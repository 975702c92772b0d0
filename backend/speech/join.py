"""Joins spoken sentences with natural pauses, all at the same level."""

import warnings
from collections.abc import Sequence

import numpy as np

from backend.speech.base import Spoken
from contracts.errors import TextRejected
from contracts.marks import PhonemeMark

with warnings.catch_warnings():
    # pydub warns that it found no ffmpeg binary. It needs none: it is given raw samples only.
    warnings.simplefilter("ignore")
    from pydub import AudioSegment
    from pydub.silence import detect_leading_silence

LEVEL_DBFS = -20.0
PEAK_DBFS = -1.0
SILENCE_DBFS = -50.0
KEPT_SILENCE_MS = 60
"""Left at a sentence's ends, because the lips of a first p or b close before it sounds."""
LEAD_SECONDS = 0.2
"""Rest before the first word, so that the video begins with a closed mouth."""
TAIL_SECONDS = 0.4


def join(spoken: Sequence[Spoken], pauses: Sequence[float]) -> Spoken:
    """One speech of several sentences.

    Args:
        spoken: At least one sentence, all of the same rate and with or without marks.
        pauses: Seconds of rest after each sentence; the last is replaced by a short tail.

    Raises:
        TextRejected: Nothing can be heard: the voice knows no sound for what is written.
    """
    rate = spoken[0].sample_rate
    segments = [_rest(LEAD_SECONDS, rate)]
    num_samples = len(segments[0].raw_data) // 2
    marks: list[PhonemeMark] = []
    rests = [*pauses[:-1], TAIL_SECONDS]
    for sentence, rest in zip(spoken, rests, strict=True):
        begin, segment = _trim(_segment(sentence))
        if not len(segment):
            continue
        shift = num_samples / rate - begin
        marks += _shifted(sentence.marks or (), begin, begin + segment.duration_seconds, shift)
        segments.append(_levelled(segment) + _rest(rest, rate))
        num_samples += len(segments[-1].raw_data) // 2
    if len(segments) == 1:
        raise TextRejected("the voice found nothing to say in this text")
    # At once, because adding segment to segment copies the whole each time.
    samples = np.frombuffer(b"".join(segment.raw_data for segment in segments), np.int16)
    return Spoken(samples, rate, tuple(marks) if spoken[0].marks is not None else None)


def _segment(spoken: Spoken) -> AudioSegment:
    # Raw samples, because pydub hands every file format to an ffmpeg binary.
    return AudioSegment(
        spoken.samples.tobytes(), sample_width=2, frame_rate=spoken.sample_rate, channels=1
    )


def _rest(seconds: float, rate: int) -> AudioSegment:
    return AudioSegment.silent(round(seconds * 1000), frame_rate=rate)


def _trim(segment: AudioSegment) -> tuple[float, AudioSegment]:
    """The segment without most of the silence at its ends, and where it began, in seconds."""
    lead = detect_leading_silence(segment, SILENCE_DBFS, 5)
    tail = detect_leading_silence(segment.reverse(), SILENCE_DBFS, 5)
    if lead >= len(segment):
        return 0.0, segment[:0]
    begin = max(0, lead - KEPT_SILENCE_MS)
    end = len(segment) - max(0, tail - KEPT_SILENCE_MS)
    return begin / 1000, segment[begin:end]


def _levelled(segment: AudioSegment) -> AudioSegment:
    gain = min(LEVEL_DBFS - segment.dBFS, PEAK_DBFS - segment.max_dBFS)
    return segment.apply_gain(gain) if segment.rms else segment


def _shifted(
    marks: Sequence[PhonemeMark], begin: float, end: float, shift: float
) -> list[PhonemeMark]:
    """The marks of what is left after trimming, at their new times."""
    return [
        PhonemeMark(
            start=max(mark.start, begin) + shift,
            end=min(mark.end, end) + shift,
            phoneme=mark.phoneme,
        )
        for mark in marks
        if mark.phoneme and mark.start < end and mark.end > begin
    ]
