"""Finding the chosen face, and refusing what is none or too small."""

import re

import numpy as np
import pytest

from contracts.errors import FaceTooSmall, NoFaceFound
from gpu_service.data import Frame
from gpu_service.faces.detect import MAX_SPREAD, face_width, find_face, find_faces, refine
from gpu_service.faces.refusals import too_small
from tests.media import portrait, scaled, turned

WIDTH = 92


@pytest.fixture(scope="module")
def pair() -> Frame:
    """A small face on the left, a large one on the right."""
    canvas = np.full((512, 820, 3), 120, np.uint8)
    canvas[:307, :307] = scaled(portrait(), 0.6)
    canvas[:, 308:] = portrait()
    return canvas


def test_the_face_has_its_box_and_steady_landmarks() -> None:
    face = find_face(portrait())
    assert face_width(face.landmarks) == pytest.approx(WIDTH, abs=3)
    assert face.spread < MAX_SPREAD
    inside = face.landmarks[:, :2].mean(axis=0)
    assert face.box.x1 < inside[0] < face.box.x2
    assert face.box.y1 < inside[1] < face.box.y2


@pytest.mark.parametrize("pixels", [49, 60, 300])
def test_faces_of_many_sizes_are_found(pixels: int) -> None:
    face = find_face(scaled(portrait(), pixels / WIDTH))
    assert face_width(face.landmarks) == pytest.approx(pixels, rel=0.05)


@pytest.mark.parametrize("degrees", [-45, 45])
def test_a_tilted_head_is_found(degrees: float) -> None:
    landmarks = find_face(turned(portrait(), degrees)).landmarks
    eyes = landmarks[263, :2] - landmarks[33, :2]
    assert np.degrees(np.arctan2(-eyes[1], eyes[0])) == pytest.approx(degrees, abs=8)


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_face_that_lies_or_hangs_is_found_as_it_is(turns: int) -> None:
    upright = find_face(portrait()).landmarks
    face = find_face(np.ascontiguousarray(np.rot90(portrait(), turns)))
    side = portrait().shape[0]
    x, y = face.landmarks[:, 0], face.landmarks[:, 1]
    # Turned back, clockwise.
    for _ in range(turns):
        x, y = side - y, x
    assert np.abs(np.stack((x, y), axis=1) - upright[:, :2]).max() < 3
    assert face.spread < MAX_SPREAD


def test_a_small_face_in_a_large_picture_is_found_in_tiles() -> None:
    canvas = np.full((720, 1280, 3), 120, np.uint8)
    canvas[100:400, 700:1000] = scaled(portrait(), 300 / 512)
    assert face_width(find_face(canvas).landmarks) == pytest.approx(WIDTH * 300 / 512, rel=0.06)


@pytest.mark.parametrize("corner", [(0, 0), (700, 400), (1000, 1500)])
def test_the_least_face_is_found_anywhere_in_a_large_picture(corner: tuple[int, int]) -> None:
    canvas = np.full((1080, 1920, 3), 120, np.uint8)
    face = scaled(portrait(), 50 / WIDTH)[:170]
    y, x = min(corner[0], 1080 - len(face)), min(corner[1], 1920 - face.shape[1])
    canvas[y : y + len(face), x : x + face.shape[1]] = face
    assert face_width(find_face(canvas).landmarks) == pytest.approx(50, abs=2)


def test_a_grey_and_a_dark_face_are_found() -> None:
    frame = portrait()
    grey = np.repeat(frame.mean(axis=2, keepdims=True), 3, axis=2).astype(np.uint8)
    for picture in (grey, (frame * 0.15).astype(np.uint8)):
        assert face_width(find_face(picture).landmarks) == pytest.approx(WIDTH, abs=4)


def test_a_face_below_the_least_width_is_too_small_and_the_error_says_how_small() -> None:
    with pytest.raises(FaceTooSmall, match="40 pixels wide"):
        find_face(scaled(portrait(), 40 / WIDTH))


def test_a_face_that_only_scaling_down_makes_too_small_says_what_would_help() -> None:
    # 60 pixels wide in an upload of 1200 x 1200, and 30 as it is rendered.
    picture = np.full((600, 600, 3), 120, np.uint8)
    face = scaled(portrait(), 30 / WIDTH)
    picture[150 : 150 + len(face), 150 : 150 + len(face)] = face
    with pytest.raises(FaceTooSmall, match=r"(59|6\d) pixels wide in the upload, but 3") as caught:
        find_faces(picture, scale=0.5)
    hint = re.fullmatch(r"Crop closer .*, or raise max_height to (\d+)\.", caught.value.hint)
    assert hint
    assert 30 * int(hint[1]) / 600 == pytest.approx(50, abs=2)


def test_a_height_that_no_output_may_have_is_not_recommended() -> None:
    picture = np.zeros((600, 1700, 3), np.uint8)
    assert too_small(30, picture, 0.5).hint == "Crop closer to the face."
    assert "max_height" not in too_small(30, picture, 1.0).hint


@pytest.mark.parametrize("side", [1, 8, 47])
def test_a_picture_without_room_for_a_face_is_too_small(side: int) -> None:
    with pytest.raises(FaceTooSmall, match=f"{side}x{side}"):
        find_face(np.zeros((side, side, 3), np.uint8))


def test_pictures_of_something_else_hold_no_face() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)
    for picture in (noise, portrait()[220:], portrait()[:, 320:]):
        with pytest.raises(NoFaceFound) as caught:
            find_face(np.ascontiguousarray(picture))
        assert caught.type is NoFaceFound


def test_where_no_face_is_found_the_error_says_what_would_help() -> None:
    night = (portrait()[220:] * 0.1).astype(np.uint8)
    with pytest.raises(NoFaceFound, match="dark") as caught:
        find_face(night)
    for word in ("front", "mouth visible", "upright", "lit", "cropped"):
        assert word in caught.value.hint


def test_landmarks_that_lie_on_no_face_are_refused() -> None:
    landmarks = find_face(portrait()).landmarks
    elsewhere = landmarks + np.array([-40, 200, 0], np.float32)
    assert refine(portrait(), elsewhere) is None
    assert refine(portrait(), landmarks) is not None


@pytest.mark.parametrize(
    ("choice", "middle_x"), [("largest", 532), ("0", 134), ("1", 532), ("134,76", 134)]
)
def test_the_choice_names_the_face(pair: Frame, choice: str, middle_x: int) -> None:
    assert find_face(pair, choice).landmarks[:, 0].mean() == pytest.approx(middle_x, abs=15)


def test_a_small_face_does_not_end_the_search_for_the_largest(
    pair: Frame, monkeypatch: pytest.MonkeyPatch
) -> None:
    small, large = (find_face(pair, choice).landmarks for choice in ("0", "1"))
    stages = [[small], [], [], [large], []]
    monkeypatch.setattr("gpu_service.faces.detect._stages", lambda _frame: iter(stages))
    assert len(find_faces(pair)) == 2
    assert find_face(pair).landmarks[:, 0].mean() == pytest.approx(532, abs=15)


@pytest.mark.parametrize("choice", ["2", "5,500"])
def test_a_choice_that_fits_no_face_says_which_there_are(pair: Frame, choice: str) -> None:
    with pytest.raises(NoFaceFound) as caught:
        find_face(pair, choice)
    assert caught.value.field == "face"
    boxes = re.findall(
        r"face=(\d) at \((\d+), \d+, (\d+), \d+\), score 0\.\d\d", caught.value.detail
    )
    middles = {index: (int(x1) + int(x2)) / 2 for index, x1, x2 in boxes}
    assert middles == {"0": pytest.approx(134, abs=15), "1": pytest.approx(532, abs=15)}
