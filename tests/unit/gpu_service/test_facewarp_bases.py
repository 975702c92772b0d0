"""The movements a mouth is made of."""

import dataclasses

import pytest

from gpu_service.engines.facewarp.bases import movement_unit
from gpu_service.engines.facewarp.geometry import HeadFrame, head_frame
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
