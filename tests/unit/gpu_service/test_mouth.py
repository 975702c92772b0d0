import csv
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from gpu_service.data import SPEECH_RATE, SpeechChunk, num_frames
from gpu_service.engines.facewarp.mouth import (
    LOOK_AHEAD_SECONDS,
    MouthShape,
    mouth_shapes,
    write_mouth_track,
)
from tests.media import Counted, babble, cut, marks_of, silence

RATES = [Fraction(25), Fraction(30), Fraction(30_000, 1001), Fraction(60), Fraction(10)]
SPOKEN = marks_of(
    ("p", 0.04),
    ("a", 0.16),
    ("m", 0.08),
    ("i", 0.2),
    ("", 0.3),
    ("f", 0.1),
    ("u", 0.3),
    ("b", 0.04),
)


@pytest.fixture(params=[None, SPOKEN], ids=["by ear", "by marks"])
def chunk(request: pytest.FixtureRequest) -> SpeechChunk:
    return SpeechChunk(
        np.concatenate((babble(2.0), silence(0.3), babble(0.7, seed=1))), request.param
    )


@pytest.mark.parametrize("lengths", [[1600], [1, 2, 399, 400, 401], [160], [12_345], [7]])
def test_the_cuts_of_the_speech_change_no_bit(chunk: SpeechChunk, lengths: list[int]) -> None:
    assert list(mouth_shapes(cut(chunk, lengths), Fraction(25))) == list(
        mouth_shapes([chunk], Fraction(25))
    )


@pytest.mark.parametrize("fps", [Fraction(1), Fraction(2), *RATES])
def test_the_cuts_change_no_bit_at_any_frame_rate(chunk: SpeechChunk, fps: Fraction) -> None:
    assert list(mouth_shapes(cut(chunk, [160]), fps)) == list(mouth_shapes([chunk], fps))


def test_marks_win_over_the_sound() -> None:
    silent_mouth = SpeechChunk(babble(1.0), marks_of(("", 1.0)))
    assert set(mouth_shapes([silent_mouth], Fraction(25))) == {MouthShape(0, 0, 0, 0, 0)}


@pytest.mark.parametrize("fps", RATES)
def test_every_frame_has_a_shape_within_the_ranges(chunk: SpeechChunk, fps: Fraction) -> None:
    shapes = np.array(list(mouth_shapes([chunk], fps)))
    assert len(shapes) == num_frames(len(chunk.samples), fps)
    width = shapes[:, MouthShape._fields.index("width")]
    assert np.abs(width).max() <= 1
    others = np.delete(shapes, MouthShape._fields.index("width"), axis=1)
    assert others.min() >= 0
    assert others.max() <= 1


@pytest.mark.parametrize("num_samples", [0, 1, 399, 400, 800, 1200, 1600, 5000])
@pytest.mark.parametrize("marks", [None, SPOKEN[:1]])
def test_short_speech_has_all_its_frames(num_samples: int, marks: object) -> None:
    chunk = SpeechChunk(babble(1.0)[:num_samples], marks)  # type: ignore[arg-type]
    assert len(list(mouth_shapes([chunk], Fraction(25)))) == num_frames(num_samples, Fraction(25))


def test_no_speech_at_all_is_one_mouth_at_rest() -> None:
    assert list(mouth_shapes([], Fraction(25))) == [MouthShape(0, 0, 0, 0, 0)]


@pytest.mark.parametrize("fps", RATES)
def test_a_shape_comes_within_its_look_ahead(chunk: SpeechChunk, fps: Fraction) -> None:
    counted = Counted(cut(chunk, [1]))
    for index, _ in enumerate(mouth_shapes(counted, fps)):
        assert Fraction(counted.num_samples - 1, SPEECH_RATE) <= index / fps + LOOK_AHEAD_SECONDS


def test_speech_is_lively_and_moves_like_a_mouth(chunk: SpeechChunk) -> None:
    shapes = list(mouth_shapes([chunk], Fraction(25)))
    openings = np.array([shape.open for shape in shapes])
    pressed = np.array([shape.closure + shape.fv for shape in shapes])
    assert openings.min() < 0.03
    assert openings.max() > 0.6
    free = (pressed[1:] < 0.05) & (pressed[:-1] < 0.05)
    assert np.abs(np.diff(openings))[free].max() <= 0.5


def test_the_track_file_has_25_rows_a_second(tmp_path: Path, chunk: SpeechChunk) -> None:
    path = tmp_path / "track.csv"
    assert write_mouth_track([chunk], path) == 75
    with path.open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    assert header == ["t", "open", "width", "round", "closure", "fv"]
    assert [row[0] for row in rows[:3]] == ["0.000", "0.040", "0.080"]
    shapes = np.array(list(mouth_shapes([chunk], Fraction(25))))
    np.testing.assert_allclose(np.array(rows, float)[:, 1:], shapes, atol=1e-5)
