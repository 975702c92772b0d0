"""With paste=box, frames are those of the published program, give or take one grey level."""

import os
from fractions import Fraction
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from gpu_service.data import SPEECH_RATE, Box, SpeechChunk
from gpu_service.engines.wav2lip.hearing import hear
from gpu_service.engines.wav2lip.paste import paste_box
from gpu_service.engines.wav2lip.preprocess import crop_face, network_faces
from tests.parity_weights import PARITY, seeded_state_dict


def test_pasted_boxes_are_those_of_the_published_frames(torch: ModuleType) -> None:
    from gpu_service.engines.wav2lip.network import Wav2LipGenerator

    with np.load(PARITY / "frames.npz") as file:
        given = dict(file)
    seeded = seeded_state_dict("wav2lip")
    generator = Wav2LipGenerator()
    generator.load_state_dict({key: torch.from_numpy(value) for key, value in seeded.items()})
    generator.eval().requires_grad_(False)
    box = Box(*(int(edge) for edge in given["box"]))
    windows = given["mel_windows"]
    faces = network_faces([crop_face(given["frame"], box)] * len(windows))
    drawn = generator(torch.from_numpy(windows[:, None]), torch.from_numpy(faces)).numpy()
    for index, (face, published) in enumerate(zip(drawn, given["patches"], strict=True)):
        patch = paste_box(index, box, face)
        assert patch.alpha is None
        assert np.abs(patch.pixels.astype(int) - published).max() <= 1


@pytest.mark.skipif(
    "LIPSYNC_PARITY_DIR" not in os.environ,
    reason="LIPSYNC_PARITY_DIR names no folder with a mel.npz that holds speech",
)
def test_frames_hear_what_the_published_ones_do() -> None:
    with np.load(Path(os.environ["LIPSYNC_PARITY_DIR"]) / "mel.npz") as file:
        speech = file["speech_i16"][:SPEECH_RATE].astype(np.float32) / 32768
    batches = hear([SpeechChunk(speech)], Fraction(25), None)
    windows = np.concatenate([batch.windows for batch in batches])
    with np.load(PARITY / "frames.npz") as file:
        np.testing.assert_allclose(windows[[0, 1, 12], 0], file["mel_windows"], rtol=0, atol=1e-4)
