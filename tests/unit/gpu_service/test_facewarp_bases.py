"""The movements a mouth is made of."""

import dataclasses

import numpy as np
import pytest

from gpu_service.engines.facewarp.lips.bases import Basis, face_controls, movement_unit
from gpu_service.engines.facewarp.warp.geometry import (
    SEAM_U,
    HeadFrame,
    LipEdges,
    head_frame,
    mouth_frame,
)
from gpu_service.faces.detect import find_face
from tests.media import portrait


@pytest.fixture(scope="module")
def head() -> HeadFrame:
    return head_frame(find_face(portrait()).landmarks)


@pytest.mark.parametrize("share", [0.13, 0.16, 0.23])
def test_a_jaw_drops_as_far_under_a_narrow_mouth_as_under_a_grin(
    head: HeadFrame, share: float
) -> None:
    face = dataclasses.replace(head, half_mouth=share * head.face_width)
    assert movement_unit(face) * face.half_mouth == pytest.approx(0.185 * head.face_width, rel=0.01)


def test_a_tiny_drawn_mouth_opens_no_wider_than_it_may(head: HeadFrame) -> None:
    face = dataclasses.replace(head, half_mouth=0.03 * head.face_width)
    assert movement_unit(face) == 1.5


@pytest.mark.parametrize(("gap", "rise"), [(0.3, 0.0), (1.4, 0.25)])
def test_what_parts_the_lips_of_a_mouth_that_is_wide_open_is_the_jaw(
    gap: float, rise: float
) -> None:
    """Its corners went down with it, and come up again; or shut lips would frown."""
    landmarks = find_face(portrait()).landmarks
    arc = (1 - SEAM_U**2).astype(np.float32)
    edges = LipEdges(-0.4 * gap * arc, 0.6 * gap * arc, gap * arc)
    head, mouth = head_frame(landmarks), mouth_frame(landmarks)
    controls = face_controls(landmarks, head, mouth, edges)
    for side in (controls.upper, controls.lower):
        corner = side.moves[-len(SEAM_U), Basis.CLOSE] / mouth.half_mouth
        assert -float(corner @ mouth.axis_v) == pytest.approx(rise, abs=0.05)
