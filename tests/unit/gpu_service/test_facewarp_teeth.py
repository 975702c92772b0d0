"""Teeth that are drawn."""

import numpy as np
import pytest

from gpu_service.data import Landmarks
from gpu_service.engines.facewarp.lips.colours import MouthColours
from gpu_service.engines.facewarp.lips.teeth import grown_teeth, lower_teeth, tongue, upper_teeth
from gpu_service.engines.facewarp.warp.geometry import Floats
from gpu_service.faces.detect import find_face
from tests.media import portrait

COLOURS = MouthColours(
    cavity=np.array([10, 10, 14], np.float32),
    tongue=np.array([70, 70, 120], np.float32),
    tooth=np.array([190, 200, 205], np.float32),
    tilt=0.0,
    skin_luma=150.0,
)
ALONG, BELOW = np.meshgrid(
    np.linspace(-1.2, 1.2, 481, dtype=np.float32), np.linspace(-0.4, 0.6, 201, dtype=np.float32)
)


def luma(layer: Floats) -> Floats:
    return np.asarray(layer[..., :3].mean(axis=-1))


@pytest.mark.parametrize("row", [upper_teeth, lower_teeth])
def test_a_row_is_alike_on_both_sides_and_ends_before_the_corners(row) -> None:  # type: ignore[no-untyped-def]
    layer = row(ALONG, BELOW, COLOURS, 1.0)
    np.testing.assert_allclose(layer, layer[:, ::-1], atol=1e-3)
    assert layer[:, np.abs(ALONG[0]) > 1.0, 3].max() == 0


def test_neighbours_are_told_apart_but_never_by_black() -> None:
    row = luma(upper_teeth(ALONG, BELOW, COLOURS, 1.0))[100]
    middle, tooth = row[240], row[240 + 31]
    assert 0.5 * tooth < middle < 0.9 * tooth


def test_teeth_grow_darker_to_the_sides() -> None:
    row = luma(upper_teeth(ALONG, BELOW, COLOURS, 1.0))[90]
    assert row[240 + 31] > 1.2 * row[240 + 130]


def test_layers_are_premultiplied() -> None:
    for layer in (
        upper_teeth(ALONG, BELOW, COLOURS, 1.0),
        lower_teeth(ALONG, BELOW, COLOURS, 1.0),
        tongue(ALONG, BELOW, COLOURS),
    ):
        assert layer[layer[..., 3] == 0, :3].max() == 0
        assert 0 <= layer[..., 3].min() <= layer[..., 3].max() <= 1


def shortened(landmarks: Landmarks, share: float) -> Landmarks:
    """The same face with a lower half that is this much as high."""
    result = landmarks.copy()
    root = landmarks[168, 1]
    result[:, 1] = root + (landmarks[:, 1] - root) * share
    return result


def test_a_babys_face_gets_no_teeth_and_an_adults_all() -> None:
    landmarks = find_face(portrait()).landmarks
    assert grown_teeth(landmarks) == 1.0
    assert grown_teeth(shortened(landmarks, 0.7)) == 0.0
    assert upper_teeth(ALONG, BELOW, COLOURS, 0.0).max() == 0
    half = upper_teeth(ALONG, BELOW, COLOURS, 0.5)
    whole = upper_teeth(ALONG, BELOW, COLOURS, 1.0)
    assert (half[..., 3] > 0.5).sum() < (whole[..., 3] > 0.5).sum()
