from pathlib import Path

import numpy as np
import pytest

from contracts.errors import EngineUnavailable
from gpu_service.audio.speech_mel import NUM_BANDS
from gpu_service.engines.facewarp.hearing.mouth_net import (
    BLOCK_STEPS,
    NUM_OUTPUTS,
    STEP_ROWS,
    WEIGHTS_PATH,
    MouthNet,
    load_weights,
    shapes_of_weights,
)


def test_the_shipped_weights_are_whole_and_small() -> None:
    assert set(load_weights(WEIGHTS_PATH)) == set(shapes_of_weights())
    assert WEIGHTS_PATH.stat().st_size < 1_000_000


@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "text", "pickle", "bits", "array"])
def test_damaged_weights_are_told_with_what_to_do(damage: str, tmp_path: Path) -> None:
    path, good = tmp_path / "net.npz", WEIGHTS_PATH.read_bytes()
    if damage == "pickle":
        with path.open("wb") as file:
            np.savez(file, **dict.fromkeys(shapes_of_weights(), np.array([{}], object)))  # type: ignore[arg-type]
    elif damage == "array":
        with path.open("wb") as file:
            np.save(file, np.zeros(3))
    elif damage == "bits":
        middle = len(good) // 2
        path.write_bytes(good[:middle] + bytes(200) + good[middle + 200 :])
    elif damage != "missing":
        path.write_bytes({"empty": b"", "cut": good[:-5000], "text": b"no weights"}[damage])
    with pytest.raises(EngineUnavailable, match=r"net\.npz") as error:
        load_weights(path)
    assert error.value.hint


def test_whichever_byte_is_damaged_the_weights_load_or_say_so(tmp_path: Path) -> None:
    path, good = tmp_path / "net.npz", WEIGHTS_PATH.read_bytes()
    random = np.random.default_rng(0)
    # Headers of the archive and of its arrays: what lies between is summed and checked.
    directory = good.index(b"PK\x01\x02")
    places = [*random.integers(0, 200, 150), *random.integers(directory, len(good), 150)]
    num_refused = 0
    for place in places:
        damaged = bytearray(good)
        damaged[place] ^= 1 << int(random.integers(8))
        path.write_bytes(damaged)
        try:
            load_weights(path)
        except EngineUnavailable:
            num_refused += 1
    assert num_refused > 100


@pytest.mark.parametrize("fault", ["shape", "nan"])
def test_weights_of_another_network_are_refused(fault: str, tmp_path: Path) -> None:
    weights = dict(load_weights(WEIGHTS_PATH))
    weights["head"] = weights["head"][:5] if fault == "shape" else weights["head"] * np.nan
    with (tmp_path / "net.npz").open("wb") as file:
        np.savez(file, **weights)  # type: ignore[arg-type]
    with pytest.raises(EngineUnavailable, match="head"):
        load_weights(tmp_path / "net.npz")


def test_what_was_said_does_not_change_by_what_is_heard_later() -> None:
    weights = load_weights(WEIGHTS_PATH)
    rows = np.random.default_rng(0).uniform(-2, 0, (8, BLOCK_STEPS * STEP_ROWS, NUM_BANDS))
    first, second = MouthNet(weights), MouthNet(weights)
    same = [net.hear(rows[0].astype(np.float32)) for net in (first, second)]
    assert np.array_equal(*same)
    assert same[0].shape == (BLOCK_STEPS, NUM_OUTPUTS)
    assert not np.array_equal(
        first.hear(rows[1].astype(np.float32)), second.hear(rows[2].astype(np.float32))
    )
