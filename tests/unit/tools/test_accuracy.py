"""What the accuracy benchmark makes of pictures and figures."""

import numpy as np
import pytest

from benchmarks.accuracy import (
    closures,
    correlation,
    finite,
    multiple_correlation,
    obedience,
    psnr,
    rounded,
    subject,
    summary,
    views,
)
from gpu_service.data import Frame
from gpu_service.faces.detect import face_width


def grey(level: int) -> Frame:
    return np.full((8, 8, 3), level, np.uint8)


def test_a_part_that_did_not_change_counts_as_such_whatever_happens_elsewhere() -> None:
    changed = grey(100)
    changed[:4] += 50
    lower = np.zeros((8, 8), bool)
    lower[4:] = True
    assert psnr(changed, grey(100), lower) == 99.0
    assert psnr(changed, grey(100), ~lower) == pytest.approx(20 * np.log10(255 / 50))


def test_what_several_causes_make_together_is_told_by_none_of_them_alone() -> None:
    causes = np.random.default_rng(0).normal(size=(60, 2))
    effect = causes[:, 0] - 2 * causes[:, 1] + 3
    assert multiple_correlation(causes, effect) == pytest.approx(1.0)
    assert multiple_correlation(causes[:, :1], effect) < 0.8


def test_the_summary_names_the_portrait_that_is_worst_by_each_figure() -> None:
    found = {
        "first": {"face_px": 90, "r_opening": 0.9, "rest_gap": 0.02, "identical_outside": True},
        "second": {"face_px": 80, "r_opening": 0.7, "rest_gap": 0.01, "identical_outside": False},
    }
    told = summary(found)
    assert told["r_opening"] == {"mean": 0.8, "worst": 0.7, "of": "second"}
    assert told["rest_gap"] == {"mean": 0.015, "worst": 0.02, "of": "first"}
    assert told["identical_outside"] is False
    assert "face_px" not in told


def test_a_figure_that_could_not_be_measured_is_left_out_of_the_summary() -> None:
    unknown = {"rest_gap": float("nan"), "identical_outside": True}
    known = {"rest_gap": 0.02, "identical_outside": True}
    assert summary({"lost": unknown, "seen": known})["rest_gap"]["of"] == "seen"
    assert "rest_gap" not in summary({"lost": unknown})
    assert rounded(float("nan")) is None


def test_frames_whose_face_is_lost_are_told_and_spoil_no_other_figure() -> None:
    known = np.array([0.1, 0.4, 0.2, 0.9, 0.6])
    gaps = np.insert(known, 2, np.nan)
    assert correlation(np.insert(known, 2, 5.0), gaps) == pytest.approx(1.0)
    assert multiple_correlation(np.insert(known, 2, 5.0)[:, None], gaps) == pytest.approx(1.0)
    assert np.isnan(correlation(known, np.full(5, np.nan)))


def test_a_portrait_whose_face_is_never_found_again_is_measured_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one = subject(views()["portrait"])
    monkeypatch.setattr("benchmarks.accuracy.follow", lambda _frame, _face: None)
    monkeypatch.setattr("benchmarks.accuracy.SPEECH_SECONDS", 1)
    found = obedience(one) | closures(one)
    assert found.pop("lost_frames") == 1.0
    assert not any(map(finite, found.values()))


def test_every_view_of_the_portrait_is_another_picture_with_its_face() -> None:
    made = views()
    assert face_width(subject(made["mirrored"]).face.landmarks) == pytest.approx(92, abs=3)
    assert len(made) == len(set(made.values()))
