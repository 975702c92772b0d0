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


@pytest.mark.parametrize("tiled", [False, True])
def test_both_halves_together_draw_the_lower_half(
    torch: ModuleType, generator: Any, inputs: tuple[Any, Any], tiled: bool
) -> None:
    from gpu_service.engines.wav2lip.split_network import FIRST_ROW, split

    mel, faces = inputs
    parts = split(generator, tiled=tiled)
    seen = parts["face"].module(faces)
    assert [tuple(each.shape[1:]) for each in seen] == [*parts["mouth"].shapes[1:]]
    whole, mouths = generator(mel, faces), parts["mouth"].module(mel, *seen)
    assert mouths.shape == (4, 3, 48, 96)
    assert float((mouths - whole[:, :, FIRST_ROW:]).abs().max()) < 1e-5


@pytest.mark.parametrize("tiled", [False, True])
def test_one_face_serves_all_windows(
    torch: ModuleType, generator: Any, inputs: tuple[Any, Any], tiled: bool
) -> None:
    from gpu_service.engines.wav2lip.split_network import split

    mel, faces = inputs
    parts = split(generator, tiled=tiled)
    mouths = parts["mouth"].module(mel, *parts["face"].module(faces[:1]))
    whole = generator(mel, faces[:1].expand(4, -1, -1, -1))
    assert float((mouths - whole[:, :, 48:]).abs().max()) < 1e-5


def test_the_rows_that_a_stage_computes_are_those_needed_or_whole_tiles(generator: Any) -> None:
    from gpu_service.engines.wav2lip.split_network import needed_rows

    rows = needed_rows([1, 2, 2, 2, 2, 2])
    assert [each.drawn for each in rows] == [0, 1, 4, 10, 22, 46]
    assert [each.joined for each in rows] == [0, 0, 2, 8, 20, 44]


def test_tiles_take_half_the_multiplications_of_large_convolutions(
    torch: ModuleType, generator: Any, inputs: tuple[Any, Any]
) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    from gpu_service.engines.wav2lip.split_network import split

    mel, faces = inputs
    counts = []
    for tiled in (False, True):
        parts = split(generator, tiled=tiled)
        seen = parts["face"].module(faces[:1])
        with FlopCounterMode(display=False) as counter:
            parts["mouth"].module(mel[:1], *seen)
        counts.append(counter.get_total_flops() / 2e6)
    assert counts[0] == pytest.approx(2138, abs=5)
    assert counts[1] < 0.75 * counts[0]


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("height", [4, 8, 28])
def test_a_tiled_convolution_is_one_with_zeros_all_around(
    torch: ModuleType, generator: Any, height: int, residual: bool
) -> None:
    from gpu_service.engines.wav2lip.split_network import Folded
    from gpu_service.engines.wav2lip.winograd_network import TiledConv, Tiles

    conv = Folded(generator.face_decoder_blocks[6][1])
    x = torch.rand(2, 64, height, 10)
    drawn = TiledConv(conv, residual=residual)(Tiles.of(x)).joined()
    expected = conv(x) + x if residual else conv(x)
    assert float((drawn - expected).abs().max()) < 1e-5
