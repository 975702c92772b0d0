"""The mouth onto the frame."""

import numpy as np
import pytest

from gpu_service.compose import compose
from gpu_service.data import Box, Frame, Landmarks
from gpu_service.engines.wav2lip.boxes import face_box
from gpu_service.engines.wav2lip.paste import Paster, paste_box
from gpu_service.engines.wav2lip.preprocess import Floats, crop_face
from gpu_service.faces.detect import find_face
from tests.media import portrait, scaled, turned


def paster_of(frame: Frame) -> tuple[Paster, Floats, Landmarks]:
    """A paster, the lower half as if the network had drawn just that, and the landmarks."""
    landmarks = find_face(frame).landmarks
    box = face_box(landmarks, (0, 10, 0, 0), frame.shape[1], frame.shape[0])
    crop = crop_face(frame, box)
    drawn = crop[48:].transpose(2, 0, 1).astype(np.float32) / 255
    return Paster(box, crop, landmarks), drawn, landmarks


@pytest.mark.parametrize("frame", [portrait(), scaled(portrait(), 3), turned(portrait(), 30)])
def test_the_mouth_is_drawn_and_the_upper_face_stays_as_it_was(frame: Frame) -> None:
    paster, _, landmarks = paster_of(frame)
    patch = paster.paste(0, np.random.default_rng(1).random((3, 48, 96), np.float32))
    changed = np.abs(compose(frame, patch).astype(int) - frame).max(axis=2) > 0
    for part in (13, 14, 61, 291, 17):
        x, y = landmarks[part, :2].astype(int)
        assert changed[y - 2 : y + 3, x - 2 : x + 3].mean() > 0.9
    for part in (33, 133, 362, 263, 168, 10, 6):
        x, y = landmarks[part, :2].astype(int)
        assert not changed[y - 2 : y + 3, x - 2 : x + 3].any()


def test_the_patch_fades_to_nothing_at_its_edges() -> None:
    alpha = paster_of(scaled(portrait(), 3))[0].paste(0, np.zeros((3, 48, 96), np.float32)).alpha
    assert alpha is not None
    assert alpha.max() == 255
    for edge in (alpha[0], alpha[-1], alpha[:, 0], alpha[:, -1]):
        assert edge.max() < 16
    steps = [np.abs(np.diff(alpha.astype(int), axis=axis)).max() for axis in (0, 1)]
    assert max(steps) < 32, "no seam"


def test_what_was_drawn_as_it_was_leaves_the_frame_nearly_as_it_was() -> None:
    frame = portrait()
    paster, same, _ = paster_of(frame)
    composed = compose(frame, paster.paste(0, same))
    assert np.abs(composed.astype(int) - frame).mean() < 0.1


def test_colours_are_matched_to_the_surroundings() -> None:
    frame = portrait()
    paster, same, _ = paster_of(frame)
    tinted = np.clip(same + np.array([0.06, -0.05, 0.04], np.float32)[:, None, None], 0, 1)
    plain, matched = paster.paste(0, same), paster.paste(0, tinted)
    assert np.abs(matched.pixels.astype(int) - plain.pixels).mean() < 2


def test_the_whole_box_is_pasted_as_the_release_does() -> None:
    drawn = np.full((3, 96, 96), 0.5, np.float32)
    box = face_box(find_face(portrait()).landmarks, (0, 10, 0, 0), 512, 512)
    patch = paste_box(3, box, drawn)
    assert (patch.frame_index, patch.box, patch.alpha) == (3, box, None)
    assert patch.pixels.shape == (box.height, box.width, 3)
    assert (patch.pixels == 127).all()


def test_a_box_that_shrinks_one_way_and_grows_the_other_repeats_no_pixels() -> None:
    landmarks = find_face(portrait()).landmarks
    box = face_box(landmarks, (0, 10, 0, 0), 512, 512)
    landmarks[:, :2] = (landmarks[:, :2] - box[:2]) * (92 / box.width, 400 / box.height)
    ramp = np.full((96, 96, 3), 51, np.uint8)
    ramp[48:] = np.linspace(51, 204, 48)[:, np.newaxis, np.newaxis]
    drawn = ramp[48:].transpose(2, 0, 1).astype(np.float32) / 255
    patch = Paster(Box(0, 0, 92, 400), ramp, landmarks).paste(0, drawn)
    assert (np.diff(patch.pixels[20:, 40, 0].astype(int)) == 0).mean() < 0.5
