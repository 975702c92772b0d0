import numpy as np
import pytest

from contracts.errors import InvalidInput, NoFaceFound
from gpu_service.engines.wav2lip.preprocess import HIDDEN_ROW
from gpu_service.engines.wav2lip.samples import lifelike_inputs, random_inputs
from tests.media import SAMPLES, babble, saved_frame, wav

PORTRAIT = (SAMPLES / "portrait.jpg").read_bytes()
SPEECH = (SAMPLES / "speech.flac").read_bytes()


def test_lifelike_inputs_are_faces_and_speech_of_many_kinds() -> None:
    mel, faces = lifelike_inputs(PORTRAIT, SPEECH, 24, seed=0)
    assert mel.shape == (24, 1, 80, 16)
    assert faces.shape == (24, 6, 96, 96)
    assert mel.dtype == faces.dtype == np.float32
    assert not faces[:, :3, HIDDEN_ROW:].any(), "the mouth is hidden, as the engine hides it"
    light = faces[:, 3:].mean(axis=(1, 2, 3))
    assert light.max() > 1.5 * light.min()
    loudest = mel.max(axis=(1, 2, 3))
    assert loudest.max() > 1
    assert loudest.min() == -4, "silence is among them"
    assert len({each.tobytes() for each in faces}) == 24


def test_inputs_are_the_same_each_time_and_others_with_another_seed() -> None:
    one, same = (lifelike_inputs(PORTRAIT, SPEECH, 3, seed=0) for _ in range(2))
    other = lifelike_inputs(PORTRAIT, SPEECH, 3, seed=1)
    for kind in (0, 1):
        np.testing.assert_array_equal(one[kind], same[kind])
        assert (one[kind] != other[kind]).any()
        np.testing.assert_array_equal(random_inputs(2)[kind], random_inputs(2)[kind])


def test_a_picture_without_a_face_is_refused() -> None:
    with pytest.raises(NoFaceFound):
        lifelike_inputs(saved_frame(np.full((240, 320, 3), 90, np.uint8)), SPEECH, 2, seed=0)


def test_a_moment_of_sound_is_refused() -> None:
    with pytest.raises(InvalidInput, match="too short"):
        lifelike_inputs(PORTRAIT, wav(babble(0.2)[np.newaxis, :100], 16_000), 2, seed=0)
