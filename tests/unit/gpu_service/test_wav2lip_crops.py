"""Faces that are kept in memory or in a file."""

import gc

import numpy as np
import pytest

from gpu_service.engines.wav2lip.crops import Crops

FACES = np.random.default_rng(0).integers(0, 256, (6, 96, 96, 3), np.uint8)


@pytest.mark.parametrize("memory_bytes", [10**9, 2 * 96 * 96 * 3])
def test_faces_come_back_as_they_went_in(
    memory_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gpu_service.engines.wav2lip.crops.MEMORY_BYTES", memory_bytes)
    crops = Crops()
    for index in (0, 1, 2, 4, 5):  # the fourth frame shows no face
        crops[index] = FACES[index]
    np.testing.assert_array_equal(crops.of([5, 0, 2, 2]), FACES[[5, 0, 2, 2]])
    np.testing.assert_array_equal(crops[4], FACES[4])


def test_the_file_goes_with_the_faces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpu_service.engines.wav2lip.crops.MEMORY_BYTES", 1)
    crops = Crops()
    crops[0] = FACES[0]
    file = crops._file
    assert not file.closed
    del crops
    gc.collect()
    assert file.closed
