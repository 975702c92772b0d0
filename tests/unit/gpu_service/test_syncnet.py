"""SyncNet as a measure: what it is given, and what becomes of its answers."""

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from contracts.errors import CheckpointMismatch, EngineUnavailable
from gpu_service.audio.mel import NUM_MELS, WINDOW_COLUMNS, Mel
from gpu_service.data import Image
from gpu_service.engines.wav2lip import syncnet
from gpu_service.engines.wav2lip.hearing import window_start
from gpu_service.engines.wav2lip.preprocess import FACE_SIDE, HIDDEN_ROW, Floats
from gpu_service.engines.wav2lip.syncnet import (
    BATCH,
    REACH,
    SYNCNET_FPS,
    SyncNetMeter,
    load_towers,
    network_mouths,
)
from tests.parity_weights import PARITY, seeded_checkpoint

NUM_FRAMES = 120


def given_crops(stacked: np.ndarray) -> list[Image]:
    """The five faces of which the golden file keeps the lower halves, (48, 96, 15)."""
    crops = np.full((5, FACE_SIDE, FACE_SIDE, 3), 77, np.uint8)
    for index in range(5):
        crops[index, HIDDEN_ROW:] = stacked[:, :, 3 * index : 3 * index + 3]
    return list(crops)


def test_mouths_and_cosines_are_those_of_the_published_network(
    torch: ModuleType, tmp_path: Path
) -> None:
    with np.load(PARITY / "syncnet.npz") as given:
        mouths = np.stack([network_mouths(given_crops(each)) for each in given["faces5"]])
        mels, cosines = given["mels"][:, None], given["cos"]
    towers = load_towers(seeded_checkpoint(tmp_path / "s.pth", net="syncnet"), "cpu")
    speech, seen = towers(mels, mouths)
    np.testing.assert_allclose((speech * seen).sum(axis=1), cosines, rtol=0, atol=5e-5)


def test_weights_of_another_network_are_refused(torch: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(CheckpointMismatch):
        load_towers(seeded_checkpoint(tmp_path / "g.pth", net="wav2lip"), "cpu")


def test_without_pytorch_it_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(syncnet, "find_spec", lambda name: None)
    with pytest.raises(EngineUnavailable) as refused:
        load_towers(tmp_path / "any.pth", "cpu")
    assert "pip install torch" in refused.value.hint


def test_a_pytorch_that_is_broken_is_said_to_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(syncnet, "find_spec", lambda name: name)
    monkeypatch.setitem(sys.modules, "gpu_service.runtimes.torch_runtime", None)
    with pytest.raises(EngineUnavailable, match="can't be loaded"):
        load_towers(tmp_path / "any.pth", "cpu")


class Numbered:
    """Towers that know which frame they see and hear, and are at one where these are the same."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def __call__(self, mels: Floats, mouths: Floats) -> tuple[Floats, Floats]:
        assert mels.shape[1:] == (1, NUM_MELS, WINDOW_COLUMNS)
        assert mouths.shape[1:] == (15, FACE_SIDE - HIDDEN_ROW, FACE_SIDE)
        self.batches.append(len(mels))
        heard = np.rint(mels[:, 0, 0, 0]).astype(int)
        seen = np.rint(mouths[:, 0, 0, 0] * 255).astype(int)
        unit = np.eye(256, dtype=np.float32)
        return unit[heard], unit[seen]


def numbered_mel() -> Mel:
    """Each frame's window begins with its number."""
    mel = np.zeros((NUM_MELS, window_start(NUM_FRAMES, SYNCNET_FPS)), np.float32)
    for index in range(NUM_FRAMES):
        mel[:, window_start(index, SYNCNET_FPS)] = index
    return mel


def crop(number: int) -> Image:
    return np.full((FACE_SIDE, FACE_SIDE, 3), number, np.uint8)


@pytest.mark.parametrize("late", [-REACH, -3, 0, 1, REACH])
def test_the_best_lag_is_where_mouth_and_sound_are_of_one_moment(late: int) -> None:
    meter = SyncNetMeter(Numbered(), numbered_mel())
    for index in range(NUM_FRAMES):
        meter.see(crop(max(index - late, 0)))
    score = meter.finish()
    assert score is not None
    assert score.lag_ms == 40 * late
    assert score.best_cosine == pytest.approx(1.0, abs=0.05)
    assert score.cosine == pytest.approx(1.0 if late == 0 else 0.0, abs=0.05)


def test_windows_that_lack_a_face_or_a_sound_are_left_out() -> None:
    towers = Numbered()
    meter = SyncNetMeter(towers, numbered_mel()[:, : window_start(100, SYNCNET_FPS)])
    for index in range(NUM_FRAMES):
        meter.see(None if index == 10 else crop(index))
    score = meter.finish()
    assert score is not None
    # 96 windows of 16 columns lie in 320 columns; five of them show frame 10.
    assert score.num_windows == sum(towers.batches) == 96 - 5
    assert max(towers.batches) == BATCH
    assert (score.cosine, score.best_cosine, score.lag_ms) == (1.0, 1.0, 0.0)


def test_without_one_window_there_is_no_score() -> None:
    meter = SyncNetMeter(Numbered(), numbered_mel())
    for index in range(40):
        meter.see(None if index % 5 == 0 else crop(index))
    assert meter.finish() is None
