"""The figures of benchmarks/mouth.py on tracks whose figures are known."""

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.mouth import closures, main, scored
from gpu_service.data import SPEECH_RATE
from tests.media import babble, wav

FRAMES = np.arange(250)
MOUTH = 0.5 + 0.4 * np.sin(FRAMES / 3) + 0.1 * np.sin(FRAMES / 1.7)


def measured(opening: NDArray[np.float64]) -> NDArray[np.void]:
    truth = np.zeros(
        len(opening), [("t", float), ("open", float), ("width", float), ("valid", float)]
    )
    truth["open"], truth["width"], truth["valid"] = opening, opening, 1
    return truth


@pytest.mark.parametrize("late", [-2, 0, 2])
def test_the_mouth_itself_scores_full_within_80_ms(late: int) -> None:
    figures = scored({"open": np.roll(MOUTH, late), "width": MOUTH}, measured(MOUTH))
    assert min(figures.values()) > 0.95


def test_a_still_mouth_scores_nothing() -> None:
    figures = scored({"open": np.zeros(250)}, measured(MOUTH))
    assert set(figures.values()) == {0.0}


def test_a_trend_is_no_motion() -> None:
    trend = FRAMES / 250
    figures = scored({"open": trend + 0.15 * MOUTH}, measured(trend + 0.1 * np.sin(FRAMES / 2)))
    assert figures["r"] > 0.8 > 0.3 > figures["r_motion"]


def test_closures_lie_between_openings() -> None:
    track = np.ones(60)
    track[20:23] = track[40:42] = 0
    track[55:] = 0
    assert closures(track) == [21.0, 40.5]


def test_clips_are_scored_from_their_folder(tmp_path: Path) -> None:
    for folder in ("wav", "truth"):
        (tmp_path / folder).mkdir()
    (tmp_path / "core.txt").write_text("# name late class\nclip 40 core\n", encoding="utf-8")
    (tmp_path / "wav/clip.wav").write_bytes(wav(babble(4.0)[np.newaxis], SPEECH_RATE))
    rows = "\n".join(f"{i / 25},{MOUTH[i]},1,1" for i in range(100))
    (tmp_path / "truth/clip.csv").write_text(f"t,open,width,valid\n{rows}\n", encoding="utf-8")
    output = tmp_path / "found.json"
    assert main([str(tmp_path), "-o", str(output), "--cache", str(tmp_path)]) == 0
    found = json.loads(output.read_text(encoding="utf-8"))
    clip = found["clips"]["core 1"]
    assert set(clip["network"]) == {"r", "r_motion", "closure_f1", "r_width"}
    assert found["mean"]["core"]["rules"] == clip["rules"]
    assert found["times_real_time_on_one_core"] > 0
