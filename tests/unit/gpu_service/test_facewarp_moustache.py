"""Hair over the upper lip."""

import dataclasses

import numpy as np

from gpu_service.data import Frame
from gpu_service.engines.facewarp.lips.moustache import fringe
from gpu_service.engines.facewarp.portrait import build_portrait
from gpu_service.engines.facewarp.renderer import Renderer
from gpu_service.engines.facewarp.shape import REST, MouthShape
from gpu_service.engines.facewarp.warp.geometry import lip_edges, mouth_frame
from gpu_service.faces.detect import find_face
from tests.media import portrait, scaled

OPEN = MouthShape(0.7, 0.0, 0.0, 0.0, 0.0)


def hairs(frame: Frame, level: float) -> Frame:
    """Strands from the nose down over the upper lip, lighter and darker side by side."""
    landmarks = find_face(frame).landmarks
    left, right = landmarks[61, 0], landmarks[291, 0]
    top, bottom = landmarks[2, 1], landmarks[[13, 14], 1].mean()
    result = frame.astype(np.float32)
    strands = np.random.default_rng(1).uniform(1 - level, 1 + level, frame.shape[1])
    rows, columns = slice(int(top), int(bottom)), slice(int(left), int(right))
    result[rows, columns] *= 0.7 * strands[None, columns, None]
    return np.clip(result, 0, 255).astype(np.uint8)


def shut(frame: Frame) -> Frame:
    renderer = Renderer(build_portrait(frame, find_face(frame)))
    box, result = renderer.box, frame.copy()
    result[box.y1 : box.y2, box.x1 : box.x2] = renderer.render(REST)
    return result


def hanging(frame: Frame) -> float:
    landmarks = find_face(frame).landmarks
    mouth = mouth_frame(landmarks)
    return float(fringe(frame, landmarks, mouth, lip_edges(frame, landmarks, mouth)).max())


def test_a_bare_lip_has_no_fringe() -> None:
    assert hanging(portrait()) == 0
    assert hanging(shut(scaled(portrait(), 2.0))) == 0


def test_a_moustache_that_covers_the_lip_hangs_before_the_teeth() -> None:
    face = hairs(shut(scaled(portrait(), 2.0)), 0.6)
    assert 0.03 < hanging(face) < 0.2
    built = build_portrait(face, find_face(face))
    bare = Renderer(dataclasses.replace(built, fringe=np.zeros_like(built.fringe)))
    hairy = Renderer(built)
    difference = np.abs(hairy.render(OPEN).astype(int) - bare.render(OPEN))
    assert difference.max() > 40
    np.testing.assert_array_equal(hairy.render(REST), bare.render(REST))
