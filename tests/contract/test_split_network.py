"""The generator in two halves draws what the whole one draws."""

from types import ModuleType
from typing import Any

import numpy as np
import pytest

from gpu_service.engines.wav2lip.preprocess import network_faces
from tests.parity_weights import PARITY, seeded_state_dict


@pytest.fixture(scope="module")
def generator(torch: ModuleType) -> Any:
    from gpu_service.engines.wav2lip.network import Wav2LipGenerator

    made = Wav2LipGenerator().eval().requires_grad_(False)
    weights = seeded_state_dict("wav2lip").items()
    made.load_state_dict({key: torch.tensor(value) for key, value in weights})
    return made


@pytest.fixture(scope="module")
def inputs(torch: ModuleType) -> tuple[Any, Any]:
    with np.load(PARITY / "generator.npz") as golden:
        mels, crops = golden["mels"][:, None], golden["faces_bgr_u8"]
    return torch.tensor(mels), torch.tensor(network_faces(crops))


def test_both_halves_together_draw_the_lower_half(
    torch: ModuleType, generator: Any, inputs: tuple[Any, Any]
) -> None:
    from gpu_service.engines.wav2lip.split_network import FIRST_ROW, split

    mel, faces = inputs
    parts = split(generator)
    seen = parts["face"].module(faces)
    assert [tuple(each.shape[1:]) for each in seen] == [*parts["mouth"].shapes[1:]]
    whole, mouths = generator(mel, faces), parts["mouth"].module(mel, *seen)
    assert mouths.shape == (4, 3, 48, 96)
    assert float((mouths - whole[:, :, FIRST_ROW:]).abs().max()) < 1e-5


def test_one_face_serves_all_windows(
    torch: ModuleType, generator: Any, inputs: tuple[Any, Any]
) -> None:
    from gpu_service.engines.wav2lip.split_network import split

    mel, faces = inputs
    parts = split(generator)
    mouths = parts["mouth"].module(mel, *parts["face"].module(faces[:1]))
    whole = generator(mel, faces[:1].expand(4, -1, -1, -1))
    assert float((mouths - whole[:, :, 48:]).abs().max()) < 1e-5


def test_the_rows_that_a_stage_computes_are_no_more_than_are_needed(generator: Any) -> None:
    from gpu_service.engines.wav2lip.split_network import needed_rows

    drawn = [rows.drawn for rows in needed_rows([1, 2, 2, 2, 2, 2])]
    assert drawn == [0, 1, 4, 10, 22, 47]
