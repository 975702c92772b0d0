# IPA letters look like others on purpose.
# ruff: noqa: RUF001

from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np
import pytest

from contracts.marks import PhonemeMark
from gpu_service.data import SpeechChunk
from gpu_service.engines.facewarp.mouth import MouthShape, mouth_shapes
from tests.media import marks_of, silence

FPS = Fraction(25)


def shapes_of(
    marks: Sequence[PhonemeMark], seconds: float | None = None, fps: Fraction = FPS
) -> list[MouthShape]:
    length = max(mark.end for mark in marks) if seconds is None else seconds
    return list(mouth_shapes([SpeechChunk(silence(length), tuple(marks))], fps))


def during(shapes: Sequence[MouthShape], start: float, end: float) -> list[MouthShape]:
    return [shape for i, shape in enumerate(shapes) if start <= i / float(FPS) <= end]


def syllables(consonant: str, seconds: float) -> tuple[PhonemeMark, ...]:
    """The consonant before vowels of many lengths, so that it falls anywhere between frames."""
    pairs = [((consonant, seconds), ("ˈa", 0.09 + 0.013 * i)) for i in range(20)]
    return marks_of(("a", 0.3), *(phoneme for pair in pairs for phoneme in pair))


@pytest.mark.parametrize("fps", [Fraction(25), Fraction(30_000, 1001), Fraction(60), Fraction(12)])
@pytest.mark.parametrize(("consonant", "seconds"), [("p", 0.032), ("b", 0.03), ("m", 0.09)])
def test_lips_meet_at_every_p_b_and_m(consonant: str, seconds: float, fps: Fraction) -> None:
    marks = syllables(consonant, seconds)
    shapes = shapes_of(marks, fps=fps)
    times = np.arange(len(shapes)) / float(fps)
    openings = np.array([shape.open for shape in shapes])
    for mark in marks:
        if mark.phoneme == consonant:
            assert openings[np.abs(times - mark.start) <= 0.06].min() < 0.1
    assert openings.max() > 0.5


def test_the_lower_lip_is_tucked_at_f_and_v() -> None:
    shapes = shapes_of(marks_of(("a", 0.2), ("f", 0.09), ("a", 0.2), ("v", 0.08), ("a", 0.2)))
    for start in (0.2, 0.49):
        tucked = max(during(shapes, start, start + 0.09), key=lambda shape: shape.fv)
        assert tucked.fv > 0.9
        assert 0 < tucked.open < 0.2


@pytest.mark.parametrize(
    ("phoneme", "quality"),
    [
        ("uː", lambda shape: shape.round > 0.7 and shape.width < -0.4 and shape.open < 0.4),
        ("y", lambda shape: shape.round > 0.7),
        ("iː", lambda shape: shape.width > 0.6 and shape.round < 0.1 and shape.open < 0.4),
        ("ɑː", lambda shape: shape.open > 0.8 and shape.round < 0.1),
        ("sː", lambda shape: shape.open < 0.2),
    ],
)
def test_a_held_sound_reaches_its_own_shape(
    phoneme: str, quality: Callable[[MouthShape], bool]
) -> None:
    shapes = shapes_of(marks_of((phoneme, 0.6)))
    assert all(quality(shape) for shape in during(shapes, 0.2, 0.4))


def test_lips_round_before_a_rounded_vowel_is_heard() -> None:
    marks = marks_of(("i", 0.3), ("s", 0.1), ("u", 0.3))
    (before,) = during(shapes_of(marks), 0.35, 0.37)
    assert before.round > 0.2


def test_the_mouth_is_shut_in_pauses() -> None:
    marks = marks_of(("", 0.4), ("a", 0.3), ("", 0.6), ("a", 0.3))
    shapes = shapes_of(marks, seconds=2.2)
    for start, end in ((0.0, 0.25), (0.85, 1.15), (1.75, 2.2)):
        assert max(shape.open for shape in during(shapes, start, end)) < 0.05


def test_a_speech_without_phonemes_is_a_mouth_at_rest() -> None:
    shapes = list(mouth_shapes([SpeechChunk(silence(1.0), ())], FPS))
    assert set(shapes) == {MouthShape(0, 0, 0, 0, 0)}
