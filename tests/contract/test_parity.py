"""Our networks and their preprocessing compute what the published ones do.

`tests/parity_weights.py` makes the weights, `tests/data/parity/` holds what came out of the
published code with them. A change of 1 % in any one tensor moves the generator's output by 2e-4 at
least, so a tolerance of 5e-5 notices it.
"""

import hashlib
import json
import os
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gpu_service.audio.mel import mel_basis, wav2lip_mel
from gpu_service.data import SPEECH_RATE
from gpu_service.engines.wav2lip.published import smooth_boxes, window_starts
from gpu_service.faces import s3fd
from gpu_service.faces.detectors import Detectors
from gpu_service.weights.registry import weights_named
from gpu_service.weights.store import WeightsStore
from tests.parity_weights import PARITY, Net, manifest, seeded_checkpoint, seeded_state_dict

DIGESTS: dict[Net, str] = {
    "wav2lip": "f432dd7658b9016cd4514918a964fc66b25c4d897f79ad5d54e977f138e61e13",
    "syncnet": "e70dd6afcc8e6690b44f69ca12a1dfb420c9a20fd9ec20e9dfe7da0dccd1efb4",
    "s3fd": "1c3d0ee45f17cbdf6a66ffac15c1f60ed38a247c023ed39f1fc5a232b1b30ea2",
}
"""SHA-256 of each net's seeded tensors, one after the other."""

Golden = dict[str, NDArray[Any]]


def golden(name: str) -> Golden:
    with np.load(PARITY / f"{name}.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def networks(torch: ModuleType) -> dict[Net, Any]:
    from gpu_service.engines.wav2lip.network import SyncNetColor, Wav2LipGenerator
    from gpu_service.faces.s3fd_network import S3FD

    made: dict[Net, Any] = {
        "wav2lip": Wav2LipGenerator(),
        "syncnet": SyncNetColor(),
        "s3fd": S3FD(),
    }
    for net, module in made.items():
        seeded = seeded_state_dict(net)
        module.load_state_dict({key: torch.from_numpy(value) for key, value in seeded.items()})
        module.eval().requires_grad_(False)
    return made


@pytest.mark.parametrize("net", DIGESTS)
def test_the_weights_are_those_that_the_published_networks_were_given(net: Net) -> None:
    digest = hashlib.sha256()
    for tensor in seeded_state_dict(net).values():
        digest.update(tensor.tobytes())
    assert digest.hexdigest() == DIGESTS[net]


@pytest.mark.parametrize("net", DIGESTS)
def test_state_dicts_have_the_published_names_shapes_and_order(
    net: Net, networks: dict[Net, Any]
) -> None:
    state = networks[net].state_dict()
    assert [(key, tuple(value.shape)) for key, value in state.items()] == [*manifest(net).items()]


def test_the_generator_draws_what_the_published_one_does(
    torch: ModuleType, networks: dict[Net, Any]
) -> None:
    given = golden("generator")
    masked = given["faces_bgr_u8"].copy()
    masked[:, 48:] = 0
    faces = np.concatenate((masked, given["faces_bgr_u8"]), axis=3).transpose(0, 3, 1, 2) / 255
    mels = torch.from_numpy(given["mels"][:, None])
    generator = networks["wav2lip"]
    drawn = generator(mels, torch.from_numpy(faces.astype(np.float32)))
    assert np.abs(drawn.numpy() - given["out"]).max() < 5e-5
    embedding = generator.audio_encoder(mels).flatten(1)
    assert np.abs(embedding.numpy() - given["audio_embedding"]).max() < 5e-5


def test_syncnet_embeds_speech_and_faces_as_the_published_one_does(
    torch: ModuleType, networks: dict[Net, Any]
) -> None:
    given = golden("syncnet")
    faces = (given["faces5"].transpose(0, 3, 1, 2) / 255).astype(np.float32)
    speech, seen = networks["syncnet"](
        torch.from_numpy(given["mels"][:, None]), torch.from_numpy(faces)
    )
    assert np.abs(speech.numpy() - given["audio_emb"]).max() < 5e-5
    assert np.abs(seen.numpy() - given["video_emb"]).max() < 5e-5
    assert np.abs((speech * seen).sum(dim=1).numpy() - given["cos"]).max() < 5e-5


def test_s3fd_finds_the_published_faces(torch: ModuleType, networks: dict[Net, Any]) -> None:
    given = golden("s3fd")
    images = torch.from_numpy(s3fd.network_input(given["images_bgr_u8"]))
    heads = [head.numpy() for head in networks["s3fd"](images)]
    for index, head in enumerate(heads):
        assert np.abs(head - given[f"head{index:02}"]).max() < 1e-3
    for index, boxes in enumerate(s3fd.find_boxes(heads)):
        np.testing.assert_allclose(boxes, given[f"final{index}"], atol=1e-3)


def test_s3fd_finds_the_published_faces_in_a_frame_from_an_installed_checkpoint(
    torch: ModuleType, tmp_path: Path
) -> None:
    given = golden("s3fd")
    store = WeightsStore(tmp_path / "installed")
    file = seeded_checkpoint(tmp_path / "s3fd.safetensors", "safetensors", "s3fd")
    store.add(file, weights_named("s3fd"), lambda _weights, _path: None)
    detector = Detectors(store, "cpu").s3fd()
    for index, image in enumerate(given["images_bgr_u8"]):
        np.testing.assert_allclose(detector.find(image), given[f"final{index}"], atol=1e-3)


def test_s3fd_boxes_come_from_its_heads_as_published() -> None:
    given = golden("s3fd")
    heads = [given[f"head{index:02}"] for index in range(12)]
    candidates = s3fd.candidate_boxes(heads)
    # Float32 has 2^-17 of a pixel here; an exponential rounds otherwise in each library.
    np.testing.assert_allclose(candidates, given["boxes"], rtol=0, atol=5e-5)
    for index, boxes in enumerate(s3fd.find_boxes(heads)):
        assert np.array_equal(s3fd.distinct(candidates[:, index]), given[f"keep{index}"])
        np.testing.assert_allclose(boxes, given[f"final{index}"], rtol=0, atol=5e-5)
        assert np.array_equal(boxes[:, :4].astype(int), given[f"final{index}"][:, :4].astype(int))


def test_the_mel_spectrogram_of_a_sweep_is_as_published() -> None:
    moments = np.arange(2 * SPEECH_RATE) / SPEECH_RATE
    sweep = 0.5 * np.sin(2 * np.pi * (100 * moments + 950 * moments**2))
    given = golden("mel")
    np.testing.assert_allclose(mel_basis(), given["mel_basis"], atol=1e-7)
    mel = wav2lip_mel(sweep.astype(np.float32))
    assert mel.dtype == np.float32
    np.testing.assert_allclose(mel, given["chirp_mel"], rtol=0, atol=1e-4)


@pytest.mark.skipif(
    "LIPSYNC_PARITY_DIR" not in os.environ,
    reason="LIPSYNC_PARITY_DIR names no folder with a mel.npz that holds speech",
)
def test_the_mel_spectrogram_of_speech_is_as_published() -> None:
    with np.load(Path(os.environ["LIPSYNC_PARITY_DIR"]) / "mel.npz") as given:
        mel = wav2lip_mel(given["speech_i16"].astype(np.float32) / 32768)
        np.testing.assert_allclose(mel, given["speech_mel"], rtol=0, atol=1e-4)


def test_published_windows_begin_where_the_published_program_takes_them() -> None:
    for case, expected in json.loads((PARITY / "mel_chunks.json").read_text()).items():
        fps, num_columns = case.split("|")
        starts = window_starts(int(num_columns), float(fps))
        assert len(starts) == expected["n"], case
        assert starts[: len(expected["starts"])] == expected["starts"], case
        assert starts[-len(expected["ends"]) :] == expected["ends"], case


@pytest.mark.parametrize("num_frames", [1, 2, 3, 4, 5, 6, 7, 12, 40])
def test_published_smoothing_gives_the_published_boxes(num_frames: int) -> None:
    given = golden("smooth_boxes")
    smooth = smooth_boxes(given[f"in{num_frames}"])
    assert np.array_equal(smooth, given[f"out{num_frames}"])
