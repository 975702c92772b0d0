"""Lids that a photo does not show."""

from itertools import pairwise

import numpy as np
import pytest

from gpu_service.data import Frame, Landmarks
from gpu_service.engines.facewarp.life.eyes import Eye, build_eyes
from gpu_service.engines.facewarp.life.pose import AS_IN_THE_PHOTO
from gpu_service.engines.facewarp.portrait import build_portrait
from gpu_service.engines.facewarp.renderer import Renderer
from gpu_service.engines.facewarp.shape import REST
from gpu_service.engines.facewarp.warp.fields import Grid
from gpu_service.faces.detect import find_face, refine
from tests.media import portrait, scaled

EYES = ((33, 133, 159, 145), (362, 263, 386, 374))
"""Corners, upper and lower edge."""


@pytest.fixture(scope="module")
def frame() -> Frame:
    return scaled(portrait(), 2.0)


@pytest.fixture(scope="module")
def landmarks(frame: Frame) -> Landmarks:
    return find_face(frame).landmarks


def eyes_of(frame: Frame, landmarks: Landmarks) -> tuple[Eye, ...]:
    height, width = frame.shape[:2]
    return build_eyes(frame, landmarks, Grid(0, 0, 1, width, height))


@pytest.fixture(scope="module")
def eyes(frame: Frame, landmarks: Landmarks) -> tuple[Eye, ...]:
    return eyes_of(frame, landmarks)


def opening(landmarks: Landmarks) -> float:
    """How far the eyes are open, of their width."""
    parts = [
        np.linalg.norm(landmarks[upper] - landmarks[lower])
        / np.linalg.norm(landmarks[left] - landmarks[right])
        for left, right, upper, lower in EYES
    ]
    return float(np.mean(parts))


def test_a_blink_shuts_the_eyes_step_by_step(frame: Frame, landmarks: Landmarks) -> None:
    renderer = Renderer(build_portrait(frame, find_face(frame), lively=True))
    box, found = renderer.box, []
    for blink in (0.0, 0.5, 1.0):
        shown = frame.copy()
        pose = AS_IN_THE_PHOTO._replace(blink=blink)
        shown[box.y1 : box.y2, box.x1 : box.x2] = renderer.render(REST, pose)
        face = refine(shown, landmarks)
        assert face is not None
        found.append(opening(face.landmarks))
    assert found[0] > found[1] > found[2]
    assert found[2] < 0.6 * found[0]


def test_open_lids_are_the_photos_own(eyes: tuple[Eye, ...]) -> None:
    for eye in eyes:
        np.testing.assert_array_equal(eye.shut(0.0), eye.pixels)


def test_only_the_lids_change(frame: Frame, landmarks: Landmarks, eyes: tuple[Eye, ...]) -> None:
    brows = landmarks[[52, 65, 53, 282, 295, 283], :2]
    for eye in eyes:
        changed = np.abs(eye.shut(1.0).astype(int) - eye.pixels).max(axis=2) > 2
        rows, columns = np.nonzero(changed)
        reach = np.abs(eye.u[rows, columns])
        assert reach.max() < 1.35
        assert not changed[[0, 1, -1, -2]].any()
        assert not changed[:, [0, 1, -1, -2]].any()
        local = np.rint(brows - (eye.left, eye.top)).astype(int)
        for x, y in local:
            if 0 <= y < changed.shape[0] and 0 <= x < changed.shape[1]:
                assert not changed[y, x]


def test_a_lid_has_the_colour_and_grain_of_the_skin_around(eyes: tuple[Eye, ...]) -> None:
    for eye in eyes:
        lid = (eye.v > eye.upper + 0.1) & (eye.v < eye.lower - 0.15) & (np.abs(eye.u) < 0.6)
        skin = (eye.v > eye.lower + 0.25) & (np.abs(eye.u) < 0.8)
        shut = eye.shut(1.0).astype(float)
        assert lid.any()
        np.testing.assert_allclose(shut[lid].mean(axis=0), shut[skin].mean(axis=0), atol=25)
        assert shut[lid].std(axis=0).max() > 1.0
        # The iris is gone.
        assert eye.pixels[lid].min() < 60 < shut[lid].min()


def test_lids_close_without_a_jump(eyes: tuple[Eye, ...]) -> None:
    frames = [eyes[0].shut(float(share)).astype(float) for share in np.linspace(0, 1, 26)]
    steps = [np.abs(after - before).mean() for before, after in pairwise(frames)]
    assert max(steps) < 3 * float(np.median(steps))


def test_shut_eyes_do_not_blink(frame: Frame, landmarks: Landmarks) -> None:
    shut = landmarks.copy()
    for upper, lower in (((161, 160, 159, 158, 157), (163, 144, 145, 153, 154)),
                         ((384, 385, 386, 387, 388), (381, 380, 374, 373, 390))):  # fmt: skip
        shut[list(upper), 1] = shut[list(lower), 1] - 1
    assert eyes_of(frame, shut) == ()


def test_dark_glasses_do_not_blink(frame: Frame, landmarks: Landmarks) -> None:
    dark = frame.copy()
    x1, y1 = np.floor(landmarks[[70, 46], :2].min(axis=0)).astype(int)
    x2 = int(landmarks[[300, 276], 0].max()) + 1
    y2 = int(landmarks[[119, 348], 1].max()) + 3
    dark[y1:y2, x1:x2] = dark[y1:y2, x1:x2] // 4
    assert eyes_of(frame, landmarks) != ()
    assert eyes_of(dark, landmarks) == ()


def test_tiny_eyes_do_not_blink_and_small_ones_do(frame: Frame, landmarks: Landmarks) -> None:
    width = float(np.linalg.norm(landmarks[33, :2] - landmarks[133, :2]))
    for size, blinks in ((11.0, False), (14.0, True)):
        small = scaled(frame, size / width)
        assert bool(eyes_of(small, landmarks * np.float32(size / width))) == blinks


def test_an_eye_that_is_turned_away_leaves_the_other_its_blink(
    frame: Frame, landmarks: Landmarks
) -> None:
    turned = landmarks.copy()
    near = turned[33, 0]
    far = [33, 7, 163, 144, 145, 153, 154, 155, 133, 246, 161, 160, 159, 158, 157, 173]
    turned[far, 0] = near + 0.3 * (turned[far, 0] - near)
    assert len(eyes_of(frame, turned)) == 1


def test_the_rim_of_glasses_stays_where_lashes_go(frame: Frame, landmarks: Landmarks) -> None:
    big, points = scaled(frame, 2.0), landmarks * np.float32(2)
    worn, rims = big.copy(), []
    for left, right, upper, _ in EYES:
        half = float(np.linalg.norm(points[left, :2] - points[right, :2])) / 2
        y = round(float(points[upper, 1]) - 0.34 * half)
        x1, x2 = (round(float(x)) for x in sorted((points[left, 0], points[right, 0])))
        worn[y - 1 : y + 2, x1 - 30 : x2 + 30] = (30, 30, 30)
        rims.append((y, x1 + 4, x2 - 4))
    for eye, (y, x1, x2) in zip(eyes_of(worn, points), rims, strict=True):
        shut = eye.shut(1.0)[y - eye.top, x1 - eye.left : x2 - eye.left]
        assert shut.mean() < 60
