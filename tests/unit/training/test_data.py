"""The examples in their folder."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.media import marks_of, vowel
from training.mouth_net import data
from training.mouth_net.data import Plan, prepare
from training.mouth_net.voices import Clip


def two_clips(*_: float) -> Iterator[Clip]:
    for voice in ("first", "second"):
        marks = marks_of(("a", 0.3), ("m", 0.1), ("i", 0.3))
        yield Clip(voice, vowel("a", marks[-1].end), marks)


@pytest.fixture(autouse=True)
def few_voices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "training_clips", two_clips)
    monkeypatch.setattr(data, "held_out_clips", two_clips)
    monkeypatch.setattr(data, "_HELD_OUT_EXAMPLES", 2)
    monkeypatch.setattr(data, "_SHARD", 2)
    monkeypatch.setattr(data.os, "cpu_count", lambda: 1)


def test_as_many_examples_are_made_as_were_asked_for_and_made_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = prepare(tmp_path, Plan(minutes=1, num_examples=3, seed=0))
    assert len(made.training.features) == len(made.training.targets) == 3
    assert len(made.held_out.features) == 2
    assert made.plain_voices == ("first", "second")
    monkeypatch.setattr(data, "training_clips", None)
    again = prepare(tmp_path, Plan(minutes=1, num_examples=3, seed=0))
    assert np.array_equal(made.training.features, again.training.features)
