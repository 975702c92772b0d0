"""The moving mouth of a portrait, measured by the same face mesh that a stranger would use."""

from itertools import pairwise

import numpy as np
import pytest

from contracts.errors import NoFaceFound
from gpu_service.data import Frame
from gpu_service.engines.facewarp.portrait import Portrait, build_portrait
from gpu_service.engines.facewarp.renderer import Renderer
from gpu_service.engines.facewarp.shape import REST, MouthShape
from gpu_service.engines.facewarp.warp.geometry import MIDDLE
from gpu_service.faces.detect import face_width, find_face, refine
from tests.media import portrait, scaled, turned

OPEN = MouthShape(1.0, 0.0, 0.0, 0.0, 0.0)
SHAPES = [
    REST,
    MouthShape(0.0, 0.2, 0.0, 1.0, 0.0),
    MouthShape(0.12, 0.0, 0.0, 0.0, 1.0),
    MouthShape(0.25, 0.8, 0.0, 0.0, 0.0),
    MouthShape(0.35, -0.3, 0.9, 0.0, 0.0),
    MouthShape(0.5, 0.1, 0.0, 0.0, 0.0),
    MouthShape(0.6, -0.4, 0.4, 0.0, 0.0),
    MouthShape(0.8, 0.3, 0.0, 0.0, 0.0),
    OPEN,
]


def prepared(frame: Frame) -> tuple[Portrait, Renderer]:
    built = build_portrait(frame, find_face(frame))
    return built, Renderer(built)


def drawn(frame: Frame, renderer: Renderer, shape: MouthShape) -> Frame:
    box, result = renderer.box, frame.copy()
    result[box.y1 : box.y2, box.x1 : box.x2] = renderer.render(shape)
    return result


def closed_portrait() -> Frame:
    """The sample with its lips shut, as the engine shuts them."""
    frame = portrait()
    return drawn(frame, prepared(frame)[1], REST)


def opening(frame: Frame) -> float:
    """How far the lips are apart, in distances between the outer corners of the eyes."""
    landmarks = find_face(frame).landmarks

    def apart(one: int, other: int) -> float:
        return float(np.linalg.norm(landmarks[one] - landmarks[other]))

    return (2 * apart(13, 14) + apart(82, 87) + apart(312, 317)) / 4 / apart(33, 263)


@pytest.fixture(scope="module", params=["teeth", "closed"])
def frame(request: pytest.FixtureRequest) -> Frame:
    return portrait() if request.param == "teeth" else closed_portrait()


def test_the_opening_follows_the_command_whatever_else_the_mouth_does(frame: Frame) -> None:
    _, renderer = prepared(frame)
    measured = [opening(drawn(frame, renderer, shape)) for shape in SHAPES]
    assert np.corrcoef([shape.open for shape in SHAPES], measured)[0, 1] > 0.95


def test_the_mouth_shuts_also_where_the_photo_smiles_with_its_teeth(frame: Frame) -> None:
    _, renderer = prepared(frame)
    widest = opening(drawn(frame, renderer, OPEN))
    for shape in SHAPES[:2]:
        assert opening(drawn(frame, renderer, shape)) < 0.12 * widest


def test_lips_that_touch_in_the_picture_rest_as_it_shows_them() -> None:
    frame = closed_portrait()
    np.testing.assert_array_equal(drawn(frame, prepared(frame)[1], REST), frame)


def test_only_the_lower_face_changes() -> None:
    frame = portrait()
    _, renderer = prepared(frame)
    changed = (drawn(frame, renderer, OPEN) != frame).any(axis=2)
    landmarks = find_face(frame).landmarks
    rows, columns = np.nonzero(changed)
    width = face_width(landmarks)
    assert rows.min() > landmarks[[159, 386], 1].max()
    assert rows.max() < landmarks[152, 1] + 0.3 * width
    assert columns.min() > landmarks[234, 0] - 0.2 * width
    assert columns.max() < landmarks[454, 0] + 0.2 * width


def test_the_chin_goes_down_with_the_jaw() -> None:
    frame = scaled(portrait(), 2.0)
    _, renderer = prepared(frame)
    source = find_face(frame)
    shut, wide = (refine(drawn(frame, renderer, shape), source.landmarks) for shape in (REST, OPEN))
    assert shut is not None
    assert wide is not None
    moved = wide.landmarks[:, 1] - shut.landmarks[:, 1]
    assert moved[152] > 4


def test_a_shape_gives_the_same_pixels_whatever_came_before(frame: Frame) -> None:
    _, renderer = prepared(frame)
    first = renderer.render(SHAPES[4])
    renderer.render(OPEN)
    np.testing.assert_array_equal(renderer.render(SHAPES[4]), first)


@pytest.mark.parametrize(
    ("movement", "first", "steps"),
    [("open", 0, 41), ("width", -1, 21), ("round", 0, 21), ("closure", 0, 21), ("fv", 0, 21)],
)
def test_a_slow_movement_has_no_jump(frame: Frame, movement: str, first: int, steps: int) -> None:
    """Seen on the mouth alone, where it would show."""
    _, renderer = prepared(frame)
    lips = find_face(frame).landmarks[[61, 291, 0, 17], :2]
    (left, top), (right, bottom) = lips.min(axis=0).astype(int), lips.max(axis=0).astype(int) + 8
    half_open = MouthShape(0.3, 0.0, 0.0, 0.0, 0.0)
    frames = [
        drawn(frame, renderer, half_open._replace(**{movement: float(part)}))[
            top:bottom, left:right
        ]
        for part in np.linspace(first, 1, steps)
    ]
    changes = [np.abs(after.astype(int) - before).mean() for before, after in pairwise(frames)]
    assert max(changes) < 1.5 * float(np.median(changes))


def test_the_photos_own_teeth_are_shown_and_stay_with_the_skull() -> None:
    frame = portrait()
    source = find_face(frame).landmarks
    _, renderer = prepared(frame)
    # Between the upper lip and the lower in the source: teeth, at the same place when wide open.
    x = round(float(source[13, 0]))
    top, bottom = float(source[13, 1]), float(source[14, 1])
    rows = slice(round(top + 0.35 * (bottom - top)), round(top + 0.65 * (bottom - top)) + 1)
    teeth = frame[rows, x - 4 : x + 5].astype(float)
    shown = drawn(frame, renderer, OPEN)[rows, x - 4 : x + 5].astype(float)
    assert np.abs(shown - teeth).mean() < 25


@pytest.mark.parametrize(
    "change",
    [
        lambda frame: scaled(frame, 49 / 92),
        lambda frame: turned(frame, 45),
        lambda frame: turned(frame, -45),
        lambda frame: frame[:, :256].copy(),
        lambda frame: frame[:190].copy(),
        lambda frame: frame[90:, 150:].copy(),
        lambda frame: np.repeat(frame[..., 1:2], 3, axis=2),
        lambda frame: (frame * 0.1).astype(np.uint8),
    ],
    ids=["tiny", "left", "right", "cut at the side", "cut at the chin", "cut", "grey", "dark"],
)
def test_odd_pictures_render_within_their_frame(change) -> None:  # type: ignore[no-untyped-def]
    frame = change(portrait())
    _, renderer = prepared(frame)
    box = renderer.box
    assert 0 <= box.x1 < box.x2 <= frame.shape[1]
    assert 0 <= box.y1 < box.y2 <= frame.shape[0]
    for shape in SHAPES:
        assert renderer.render(shape).shape == (box.height, box.width, 3)


@pytest.mark.parametrize("lively", [False, True])
def test_a_face_whose_mouth_lies_beyond_the_border_is_refused(lively: bool) -> None:
    """It would be animated, and nobody would see it."""
    frame = scaled(portrait(), 2.0)
    above_the_lips = round(float(find_face(frame).landmarks[2, 1]))
    cut = frame[:above_the_lips].copy()
    face = find_face(cut)
    with pytest.raises(NoFaceFound, match="mouth"):
        build_portrait(cut, face, lively=lively)


def test_a_chin_that_the_border_cuts_off_is_not_drawn_out_in_streaks() -> None:
    landmarks = find_face(scaled(portrait(), 2.0)).landmarks
    bottom = round(float(landmarks[[17, 152], 1].mean()))
    frame = scaled(portrait(), 2.0)[:bottom].copy()
    _, renderer = prepared(frame)
    x = round(float(landmarks[152, 0]))

    def roughness(picture: Frame) -> float:
        return float(np.abs(np.diff(picture[-6:, x - 40 : x + 40].astype(float), axis=0)).mean())

    # Shutting a mouth that smiles lifts the chin and uncovers what the picture does not show.
    assert roughness(drawn(frame, renderer, REST)) > 0.4 * roughness(frame)


def test_a_grey_picture_stays_grey() -> None:
    frame = np.repeat(portrait()[..., 1:2], 3, axis=2)
    _, renderer = prepared(frame)
    pixels = renderer.render(OPEN).astype(int)
    assert np.ptp(pixels, axis=2).max() <= 1


def test_closed_lips_open_onto_teeth_and_a_dark_mouth() -> None:
    frame = closed_portrait()
    built, renderer = prepared(frame)
    assert built.edges.closed
    landmarks = find_face(frame).landmarks
    wide = drawn(frame, renderer, OPEN)
    x, y = round(float(landmarks[13, 0])), round(float(landmarks[13, 1]))
    column = wide[y - 2 : y + 14, x - 2 : x + 3].mean(axis=(1, 2))
    assert column.max() > 130
    assert column.min() < 90


def test_an_f_shows_the_upper_teeth_on_the_lower_lip() -> None:
    frame = scaled(closed_portrait(), 2.0)
    _, renderer = prepared(frame)
    landmarks = find_face(frame).landmarks
    x, y = landmarks[[13, 14], :2].mean(axis=0).round().astype(int).tolist()
    part = slice(y - 12, y + 13), slice(x - 8, x + 9)

    def palest(shape: MouthShape) -> float:
        """How red the least red row between nose and chin is: teeth are not, lips and skin are."""
        pixels = drawn(frame, renderer, shape)[part].astype(float).mean(axis=1)
        return float(((pixels[:, 2] - pixels[:, 1]) / pixels[:, 2]).min())

    bite = MouthShape(0.05, 0.0, 0.0, 0.0, 1.0)
    assert palest(bite) < 0.75 * palest(MouthShape(0.05, 0.0, 0.0, 0.0, 0.0))
    assert opening(drawn(frame, renderer, bite)) < 0.35 * opening(drawn(frame, renderer, OPEN))


def test_lips_that_press_grow_thin() -> None:
    frame = scaled(closed_portrait(), 2.0)
    _, renderer = prepared(frame)

    def thickness(shape: MouthShape) -> float:
        landmarks = find_face(drawn(frame, renderer, shape)).landmarks
        return float(landmarks[17, 1] - landmarks[0, 1])

    assert thickness(MouthShape(0.0, 0.0, 0.0, 1.0, 0.0)) < 0.95 * thickness(REST)


def test_a_mouth_that_is_wide_open_in_the_photo_shuts_also_where_the_border_holds_the_chin() -> (
    None
):
    frame = scaled(closed_portrait(), 2.0)
    agape = drawn(frame, prepared(frame)[1], OPEN)
    below_chin = round(float(find_face(agape).landmarks[152, 1])) + 4
    for picture in (agape, agape[:below_chin].copy()):
        built, renderer = prepared(picture)
        assert built.edges.gap > 0.5
        coeffs = renderer.coeffs(REST)
        moves = np.tensordot(coeffs, built.lower_edge_moves - built.upper_edge_moves, 1)
        assert built.edges.gap + moves[MIDDLE, 1].mean() < 0.01
