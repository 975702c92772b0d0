"""Frames of reference of the face, and the line along which the lips part."""

import cv2
import numpy as np
import pytest

from gpu_service.data import Image, Landmarks
from gpu_service.engines.facewarp.warp.geometry import (
    LOWER_INNER,
    SEAM_U,
    UPPER_INNER,
    MouthFrame,
    cheapest_path,
    edge_through,
    head_frame,
    lip_edges,
    mouth_frame,
)
from gpu_service.faces.detect import find_face
from tests.media import portrait

FRAME = MouthFrame(np.array([100, 80], np.float32), np.array([1, 0], np.float32), 40.0)


def lips(gap: float) -> Landmarks:
    """Landmarks of a mouth whose corners lie on y = 80 and whose lips part by gap half mouths."""
    landmarks = np.zeros((478, 3), np.float32)
    u = np.linspace(-1, 1, 11)
    for index, side in ((UPPER_INNER, -0.5), (LOWER_INNER, 0.5)):
        v = side * gap * (1 - u**2)
        landmarks[list(index), :2] = FRAME.pixels(np.stack((u, v), axis=1).astype(np.float32))
    return landmarks


def painted(line_y: int, between: tuple[int, int, int] = (40, 40, 90)) -> Image:
    image = np.full((160, 200, 3), (110, 110, 190), np.uint8)
    cv2.line(image, (62, line_y), (138, line_y), between, 3)
    return image


def test_the_head_frame_is_square_and_looks_at_the_viewer() -> None:
    head = head_frame(find_face(portrait()).landmarks)
    np.testing.assert_allclose(head.axes @ head.axes.T, np.eye(3), atol=1e-5)
    right, down, back = head.axes
    assert right[0] > 0.9
    assert down[1] > 0.9
    assert back[2] > 0.9


def test_head_movements_come_back_in_pixels() -> None:
    head = head_frame(find_face(portrait()).landmarks)
    moved = head.moves(np.array([[0, 1, 0]], np.float32))
    assert moved[0, 1] == pytest.approx(head.half_mouth, rel=0.1)


def test_mouth_coordinates_go_there_and_back_on_a_tilted_mouth() -> None:
    frame = MouthFrame(np.array([10, 20], np.float32), np.array([0.8, 0.6], np.float32), 7.0)
    points = np.array([[3, 4], [10, 20], [-5, 60]], np.float32)
    np.testing.assert_allclose(frame.pixels(frame.local(points)), points, atol=1e-4)
    np.testing.assert_allclose(frame.local(points)[1], (0, 0), atol=1e-6)


def test_landmarks_on_one_spot_give_frames_without_division_by_nothing() -> None:
    nothing = np.zeros((478, 3), np.float32)
    assert np.isfinite(head_frame(nothing).axes).all()
    assert np.isfinite(mouth_frame(nothing).local(np.ones((2, 2), np.float32))).all()


def test_an_edge_survives_landmarks_that_fold_back() -> None:
    u = np.array([-1, -0.5, 0, 0.9, 0.85, 1.0], np.float32)
    edge = edge_through(np.stack((u, np.array([0, 0.2, 0.3, 0.1, 0.4, 0], np.float32)), axis=1))
    assert edge.shape == SEAM_U.shape
    assert np.isfinite(edge).all()


def test_touching_lips_have_one_seam_on_the_dark_line() -> None:
    edges = lip_edges(painted(line_y=84), lips(gap=0.02), FRAME)
    assert edges.closed
    middle = len(SEAM_U) // 2
    assert edges.lower[middle] == pytest.approx(0.06, abs=0.025)


def test_lips_with_teeth_between_have_two_edges_though_they_are_near() -> None:
    teeth = lip_edges(painted(line_y=80, between=(200, 205, 210)), lips(gap=0.12), FRAME)
    shadow = lip_edges(painted(line_y=80), lips(gap=0.12), FRAME)
    assert not teeth.closed
    assert shadow.closed
    assert shadow.gap > 0.05


def test_parted_lips_have_two_edges() -> None:
    edges = lip_edges(painted(line_y=80), lips(gap=0.4), FRAME)
    assert not edges.closed
    assert (edges.lower > edges.upper).all()
    assert edges.gap == pytest.approx(0.4, abs=0.12)


def test_the_cheapest_path_goes_round_what_costs() -> None:
    cost = np.array([[0, 9, 9], [9, 0, 9], [9, 9, 0], [9, 0, 9]], np.float32)
    free = np.zeros((3, 3), np.float32)
    assert cheapest_path(cost, free).tolist() == [0, 1, 2, 1]
    stiff = 100 * (1 - np.eye(3, dtype=np.float32))
    assert len(set(cheapest_path(cost, stiff).tolist())) == 1
