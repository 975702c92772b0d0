"""With paste=box, frames are those of the published program, give or take one grey level.

The published frames show speech whose licence keeps it out of this repository.
"""

import os
from fractions import Fraction
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest

from gpu_service.compose import compose
from gpu_service.data import SPEECH_RATE, Box, SpeechChunk
from gpu_service.engines.wav2lip.hearing import hear
from gpu_service.engines.wav2lip.paste import paste_box
from gpu_service.engines.wav2lip.preprocess import crop_face, network_faces
from tests.parity_weights import seeded_state_dict

BOX = Box(100, 48, 221, 208)
FRAMES = (0, 1, 12)


@pytest.mark.skipif(
    "LIPSYNC_PARITY_DIR" not in os.environ,
    reason="LIPSYNC_PARITY_DIR names no folder with mel.npz and the frames of input_synth.png",
)
def test_pasted_boxes_are_those_of_the_published_frames(torch: ModuleType) -> None:
    from gpu_service.engines.wav2lip.network import Wav2LipGenerator

    folder = Path(os.environ["LIPSYNC_PARITY_DIR"])
    with np.load(folder / "mel.npz") as file:
        speech = file["speech_i16"][:SPEECH_RATE].astype(np.float32) / 32768
    batches = hear([SpeechChunk(speech)], Fraction(25), None)
    windows = np.concatenate([batch.windows for batch in batches])[list(FRAMES)]
    seeded = seeded_state_dict("wav2lip")
    generator = Wav2LipGenerator()
    generator.load_state_dict({key: torch.from_numpy(value) for key, value in seeded.items()})
    generator.eval().requires_grad_(False)
    photo = np.asarray(cv2.imread(str(folder / "input_synth.png")), np.uint8)
    faces = network_faces(np.stack([crop_face(photo, BOX)] * len(windows)))
    drawn = generator(torch.from_numpy(windows), torch.from_numpy(faces)).numpy()
    for index, face in zip(FRAMES, drawn, strict=True):
        published = cv2.imread(str(folder / f"frame_synth_{index:02}.png"))
        frame = compose(photo, paste_box(index, BOX, face))
        assert np.abs(frame.astype(int) - published).max() <= 1
