"""How the picture moves with the head."""

from itertools import pairwise

import numpy as np
import pytest

from gpu_service.data import Frame
from gpu_service.engines.facewarp.life.head import COARSE, Move
from gpu_service.engines.facewarp.life.pose import (
    AS_IN_THE_PHOTO,
    LARGEST_SHIFT,
    LARGEST_TURN,
    Pose,
)
from gpu_service.engines.facewarp.portrait import Portrait, build_portrait
from gpu_service.engines.facewarp.renderer import Renderer
from gpu_service.engines.facewarp.shape import REST, MouthShape
from gpu_service.faces.detect import face_width, find_face, refine
from tests.media import portrait, scaled

SPEAKING = MouthShape(0.5, 0.2, 0.0, 0.0, 0.0)
FAR = [
    Pose(turn, tilt, lean, shift, -shift, brow, 0.0)
    for turn, tilt, lean, shift, brow in (
        (LARGEST_TURN, LARGEST_TURN, 0.0, 0.0, 1.0),
        (-LARGEST_TURN, -LARGEST_TURN, LARGEST_TURN, 0.0, 0.0),
        (0.0, 0.0, -LARGEST_TURN, LARGEST_SHIFT, 0.0),
        (0.0, 0.0, 0.0, -LARGEST_SHIFT, 0.0),
    )
]


def posed(**moved: float) -> Pose:
    return AS_IN_THE_PHOTO._replace(**moved)


def prepared(frame: Frame) -> tuple[Portrait, Renderer]:
    built = build_portrait(frame, find_face(frame), lively=True)
    return built, Renderer(built)


def drawn(frame: Frame, renderer: Renderer, shape: MouthShape, pose: Pose) -> Frame:
    box, result = renderer.box, frame.copy()
    result[box.y1 : box.y2, box.x1 : box.x2] = renderer.render(shape, pose)
    return result


@pytest.fixture(scope="module")
def frame() -> Frame:
    return scaled(portrait(), 2.0)


@pytest.fixture(scope="module")
def renderer(frame: Frame) -> Renderer:
    return prepared(frame)[1]


@pytest.fixture(scope="module")
def landmarks(frame: Frame) -> np.ndarray:
    return find_face(frame).landmarks


def moved(frame: Frame, renderer: Renderer, landmarks: np.ndarray, pose: Pose) -> np.ndarray:
    """(478, 2) how far the landmarks of the posed picture are from those of the still one."""
    still = refine(drawn(frame, renderer, SPEAKING, AS_IN_THE_PHOTO), landmarks)
    now = refine(drawn(frame, renderer, SPEAKING, pose), landmarks)
    assert still is not None
    assert now is not None
    return (now.landmarks - still.landmarks)[:, :2]


NOSE, CHIN, FOREHEAD, LEFT_SIDE, RIGHT_SIDE = 1, 152, 10, 234, 454


def test_a_turn_takes_the_nose_further_than_the_cheeks(
    frame: Frame, renderer: Renderer, landmarks: np.ndarray
) -> None:
    width = face_width(landmarks)
    for turn in (3.0, -3.0):
        step = moved(frame, renderer, landmarks, posed(yaw=turn))[:, 0] / width * np.sign(turn)
        assert step[NOSE] > 0.03
        assert step[NOSE] > 1.3 * step[[LEFT_SIDE, RIGHT_SIDE]].mean() > 0


def test_a_nod_goes_down_and_a_tilt_goes_over(
    frame: Frame, renderer: Renderer, landmarks: np.ndarray
) -> None:
    width = face_width(landmarks)
    nod = moved(frame, renderer, landmarks, posed(pitch=3.0)) / width
    assert nod[NOSE, 1] > 0.03
    tilt = moved(frame, renderer, landmarks, posed(roll=3.0)) / width
    assert tilt[FOREHEAD, 0] > tilt[CHIN, 0] + 0.03
    assert tilt[LEFT_SIDE, 1] < -0.015 < 0.015 < tilt[RIGHT_SIDE, 1]


def test_shifts_take_the_whole_face_along(
    frame: Frame, renderer: Renderer, landmarks: np.ndarray
) -> None:
    step = moved(frame, renderer, landmarks, posed(x=0.03, y=0.02)) / face_width(landmarks)
    inner = [33, 263, 1, 61, 291]
    np.testing.assert_allclose(step[inner], [(0.03, 0.02)] * len(inner), atol=0.008)


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_head_that_lies_moves_as_an_upright_one(frame: Frame, turns: int) -> None:
    upright = prepared(frame)[0].head
    lying = prepared(np.ascontiguousarray(np.rot90(frame, turns)))[0].head
    assert upright is not None
    assert lying is not None
    angle = np.radians(90 * turns)
    back = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    for move in Move:
        wanted, found = (head.fields[move].mean(axis=(0, 1)) for head in (upright, lying))
        along = float(found @ back @ wanted)
        assert along > 0.9 * float(np.linalg.norm(found) * np.linalg.norm(wanted)), move


def test_raised_brows_leave_the_eyes_where_they_are(
    frame: Frame, renderer: Renderer, landmarks: np.ndarray
) -> None:
    step = moved(frame, renderer, landmarks, posed(brow=1.0))[:, 1] / face_width(landmarks)
    assert step[[105, 334]].mean() < -0.012
    assert np.abs(step[[145, 374, 1]]).max() < 0.008


def test_the_mouth_speaks_on_a_turned_head_as_on_a_still_one(
    frame: Frame, renderer: Renderer, landmarks: np.ndarray
) -> None:
    def gap(pose: Pose) -> float:
        found = refine(drawn(frame, renderer, SPEAKING, pose), landmarks)
        assert found is not None
        return float(np.linalg.norm(found.landmarks[13] - found.landmarks[14]))

    still = gap(AS_IN_THE_PHOTO)
    for pose in (posed(yaw=3.0), posed(pitch=3.0), posed(roll=-3.0, x=0.02)):
        assert gap(pose) == pytest.approx(still, rel=0.15)


def test_what_is_far_from_the_head_stays_bit_by_bit(
    frame: Frame, renderer: Renderer, landmarks: np.ndarray
) -> None:
    width = face_width(landmarks)
    low, high = landmarks[:, :2].min(axis=0), landmarks[:, :2].max(axis=0)
    for pose in FAR:
        rows, columns = np.nonzero((drawn(frame, renderer, SPEAKING, pose) != frame).any(axis=2))
        assert columns.min() > low[0] - 0.8 * width
        assert columns.max() < high[0] + 0.8 * width
        assert rows.max() < high[1] + 0.7 * width


def test_what_surrounds_the_head_is_stretched_little(frame: Frame) -> None:
    """Straight lines in the background must not visibly bend: no ring of rubber."""
    head = prepared(frame)[0].head
    assert head is not None
    for pose in (posed(yaw=2.5), posed(roll=1.5), posed(pitch=2.0)):
        offsets = head.offsets(np.array(pose[:-1], np.float32))
        for axis in (0, 1):
            assert np.abs(np.diff(offsets, axis=axis)).max() < 0.16 * head.grid.cell


def test_a_head_at_rest_is_the_photo_and_leaves_it_without_a_step() -> None:
    closed = drawn(portrait(), prepared(portrait())[1], REST, AS_IN_THE_PHOTO)
    _, lively = prepared(closed)
    np.testing.assert_array_equal(drawn(closed, lively, REST, AS_IN_THE_PHOTO), closed)
    nearly = drawn(closed, lively, REST, posed(yaw=0.004))
    assert np.abs(nearly.astype(int) - closed).mean() < 0.1


def test_a_still_portrait_ignores_poses(frame: Frame) -> None:
    still = Renderer(build_portrait(frame, find_face(frame)))
    np.testing.assert_array_equal(
        still.render(SPEAKING, FAR[0]._replace(blink=1.0)), still.render(SPEAKING)
    )


def test_a_slow_turn_has_no_jump(frame: Frame, renderer: Renderer) -> None:
    turns = np.linspace(0.5, 3.5, 31)
    frames = [
        renderer.render(SPEAKING, posed(yaw=float(turn))).astype(np.float32) for turn in turns
    ]
    steps = [np.abs(after - before).mean() for before, after in pairwise(frames)]
    assert max(steps) < 1.5 * float(np.median(steps))


def test_a_moving_head_stays_sharp(frame: Frame, landmarks: np.ndarray) -> None:
    sharp = portrait()
    _, renderer = prepared(sharp)
    face = find_face(sharp).box

    def detail(picture: Frame) -> float:
        grey = picture[face.y1 : face.y2, face.x1 : face.x2].astype(float).mean(axis=2)
        across = grey[1:-1, :-2] + grey[1:-1, 2:] + grey[:-2, 1:-1] + grey[2:, 1:-1]
        return float((across - 4 * grey[1:-1, 1:-1]).var())

    still = detail(drawn(sharp, renderer, REST, AS_IN_THE_PHOTO))
    kept = [
        detail(drawn(sharp, renderer, REST, posed(yaw=turn, roll=lean))) / still
        for turn, lean in ((0.6, 0.3), (1.1, -0.4), (1.7, 0.2), (-1.4, 0.6), (2.3, 0.1))
    ]
    assert min(kept) > 0.75
    assert max(kept) < 1.2


@pytest.mark.parametrize(
    "cut",
    [
        lambda frame: frame[:, :500].copy(),
        lambda frame: frame[90:].copy(),
        lambda frame: frame[60:400].copy(),
        lambda frame: frame[80:360, 330:590].copy(),
    ],
    ids=["side", "hair", "hair and chin", "face only"],
)
def test_borders_of_the_picture_are_never_uncovered(cut, frame: Frame) -> None:  # type: ignore[no-untyped-def]
    framed = cut(frame)
    # Each border's own colour would be smeared inwards if anything left it behind.
    marked = framed.copy()
    marked[[0, -1]] = marked[:, [0, -1]] = (255, 0, 255)
    built = build_portrait(marked, find_face(framed), lively=True)
    renderer = Renderer(built)
    for pose in FAR:
        shown = drawn(marked, renderer, REST, pose).astype(int)
        magenta = (shown[..., 0] > 230) & (shown[..., 1] < 40) & (shown[..., 2] > 230)
        for border in (magenta[0], magenta[-1], magenta[:, 0], magenta[:, -1]):
            assert border.mean() > 0.9
        assert not magenta[3:-3, 3:-3].any()


def test_a_grey_picture_stays_grey() -> None:
    grey = np.repeat(portrait()[..., 1:2], 3, axis=2)
    _, renderer = prepared(grey)
    pixels = renderer.render(SPEAKING, FAR[0]._replace(blink=0.7)).astype(int)
    assert np.ptp(pixels, axis=2).max() <= 1


def test_the_same_pose_gives_the_same_pixels_whatever_came_before(renderer: Renderer) -> None:
    pose = FAR[1]._replace(blink=0.5)
    first = renderer.render(SPEAKING, pose)
    renderer.render(REST, FAR[2])
    np.testing.assert_array_equal(renderer.render(SPEAKING, pose), first)


@pytest.mark.parametrize("factor", [0.6, 1.0, 2.0])
def test_lids_are_drawn_where_the_head_has_taken_the_eyes(factor: float) -> None:
    """An eye that is about to close is drawn from its own patch, and must look the same."""
    _, renderer = prepared(scaled(portrait(), factor))
    for pose in FAR:
        closing = renderer.render(SPEAKING, pose._replace(blink=1e-6)).astype(int)
        assert np.abs(closing - renderer.render(SPEAKING, pose)).max() <= 2


def test_the_heads_grid_contains_the_mouths_node_by_node(frame: Frame) -> None:
    built, _ = prepared(frame)
    assert built.head is not None
    grid, canvas = built.grid, built.canvas
    assert canvas == built.head.grid
    assert canvas.cell == grid.cell
    assert (grid.x - canvas.x) % grid.cell == 0
    assert (grid.y - canvas.y) % grid.cell == 0
    assert canvas.x <= grid.x
    assert canvas.y <= grid.y
    assert grid.x + grid.width <= canvas.x + canvas.width
    assert grid.y + grid.height <= canvas.y + canvas.height
    assert built.head.fields.shape[1:3] == (canvas.rows // COARSE, canvas.columns // COARSE)
