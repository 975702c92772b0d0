"""Staying on one face of a video."""

import re
import threading
from collections.abc import Iterator
from fractions import Fraction

import cv2
import numpy as np
import pytest

from contracts.errors import Cancelled, FaceTooSmall, MediaTooLarge, NoFaceFound
from contracts.lipsync import LipSyncOptions
from gpu_service.data import Face, FaceTrack, Frame, no_progress
from gpu_service.faces.detect import bounding_box, find_face
from gpu_service.faces.follow import Follower
from gpu_service.faces.smooth import smooth_faces
from gpu_service.faces.track import track_faces
from tests.media import Film, Photo, portrait, scaled

FPS = Fraction(25)
SCENE = cv2.GaussianBlur(
    np.random.default_rng(2).integers(60, 200, (360, 640, 3), np.uint8).astype(np.uint8), (0, 0), 9
)
HEAD = portrait()[40:240, 120:330]
"""The face of the portrait and its surroundings."""
STRANGER = np.ascontiguousarray(HEAD[:, ::-1, ::-1])
"""A face that looks different: the other way round, with the colours of red and blue exchanged."""


def shot(
    *places: tuple[float, float], scale: float = 1.0, scene: Frame = SCENE, head: Frame = HEAD
) -> Frame:
    """A scene with a head at each place (its upper left corner)."""
    frame = scene.copy()
    head = scaled(head, scale)
    for x, y in places:
        shift = np.array([[1, 0, x], [0, 1, y]], np.float32)
        size = (frame.shape[1], frame.shape[0])
        moved = cv2.warpAffine(head, shift, size, flags=cv2.INTER_CUBIC)
        inside = cv2.warpAffine(np.ones_like(head), shift, size)
        frame = np.where(inside > 0, moved, frame)
    return np.asarray(frame, np.uint8)


def track(frames: list[Frame], face: str = "largest", num_frames: int | None = None) -> FaceTrack:
    return track_faces(Film(*frames), FPS, LipSyncOptions(face=face), no_progress, num_frames)


def centre_x(face: Face | None) -> float:
    assert face is not None
    return float(face.landmarks[:, 0].mean())


def test_a_moving_face_is_followed_through_a_gap() -> None:
    places = [100.0 + 12 * index for index in range(16)]
    frames = [shot() if 6 <= index < 10 else shot((x, 80)) for index, x in enumerate(places)]
    found = track(frames)
    faces = found.faces
    assert [index for index, face in enumerate(faces) if face is None] == [6, 7, 8, 9]
    assert found.chosen == [0]
    start = centre_x(faces[0])
    for index in (0, 3, 5, 10, 12, 15):
        assert centre_x(faces[index]) - start == pytest.approx(12 * index, abs=1.5)


def test_it_stays_on_the_chosen_face_though_the_other_grows_larger() -> None:
    frames = []
    for index in range(8):
        frame = shot((20, 80))
        grown = scaled(HEAD, 0.8 + 0.07 * index)
        frame[20 : 20 + grown.shape[0], 340 : 340 + grown.shape[1]] = grown[:340, :300]
        frames.append(frame)
    for choice, right in (("largest", False), ("1", True), ("450,120", True), ("0", False)):
        for face in track(frames, choice).faces:
            assert (centre_x(face) > 320) == right


def test_it_does_not_jump_to_another_face_when_its_own_is_hidden_for_a_moment() -> None:
    both, hidden = shot((20, 80), (400, 80)), shot((400, 80))
    faces = track([both, hidden, hidden, both], "0").faces
    assert [face is None for face in faces] == [False, True, True, False]
    assert centre_x(faces[3]) < 320


@pytest.mark.parametrize("choice", ["0", "1"])
def test_it_stays_on_its_own_face_while_another_crosses_it(choice: str) -> None:
    places = [12.0 * index for index in range(36)]
    frames = [shot((x, 70), head=STRANGER, scene=shot((420 - x, 80))) for x in places]
    faces = track(frames, choice).faces
    for index, (face, x) in enumerate(zip(faces, places, strict=True)):
        if choice == "0" or not 6 <= index < 30:
            assert face is not None, index
        if face is not None:
            assert centre_x(face) == pytest.approx(105 + (x if choice == "0" else 420 - x), abs=25)


def test_another_face_at_the_same_place_begins_a_scene_though_nothing_else_changes() -> None:
    frames = [shot((200, 80))] * 4 + [shot((222, 80), head=STRANGER)] * 4
    found = track(frames)
    faces = found.faces
    assert None not in faces
    assert found.chosen == [0, 4]
    assert centre_x(faces[3]) == pytest.approx(centre_x(faces[0]), abs=0.5)
    assert centre_x(faces[4]) == pytest.approx(centre_x(faces[7]), abs=0.5)


def test_a_cut_between_dim_pictures_is_seen() -> None:
    ramp = np.repeat(np.linspace(5, 45, 640)[:, np.newaxis], 3, axis=1)
    dim, other = (np.broadcast_to(each, SCENE.shape).astype(np.uint8) for each in (ramp, 50 - ramp))
    frames = [shot((60, 80), scene=dim)] * 4 + [shot((360, 60), scene=other)] * 4
    assert None not in track([frame // 2 for frame in frames]).faces


def test_a_face_that_stays_away_gives_way_to_the_choice_made_anew() -> None:
    follower = Follower("largest", Fraction(2))
    frames = [shot((20, 80)), *[shot((400, 80))] * 3]
    found = [follower.find(frame) for frame in frames]
    assert [face is None for face in found] == [False, True, True, False]
    assert centre_x(found[3]) > 320


def test_a_cut_begins_anew_and_nothing_is_averaged_across_it() -> None:
    other = 255 - SCENE // 3
    frames = [shot((60, 80))] * 3 + [shot((360, 60), scene=other)] * 3
    faces = track(frames).faces
    alone = [centre_x(find_face(frame)) for frame in (frames[0], frames[3])]
    for index, face in enumerate(faces):
        assert centre_x(face) == pytest.approx(alone[index // 3], abs=1.0)


def test_only_the_frames_that_are_shown_are_looked_at() -> None:
    assert len(track([shot((60, 80))] * 5, num_frames=3).faces) == 3


class Opened(Film):
    """A film that notes the threads in which its frames are read, and in which it is closed."""

    def __init__(self, *frames: Frame) -> None:
        super().__init__(*frames)
        self.read_in: set[int] = set()
        self.closed_in: set[int] = set()

    def frames(self, first: int = 0) -> Iterator[Frame]:
        try:
            for frame in super().frames(first):
                self.read_in.add(threading.get_ident())
                yield frame
        finally:
            self.closed_in.add(threading.get_ident())


@pytest.mark.parametrize("num_frames", [None, 30])
def test_a_video_that_nobody_waits_for_any_longer_is_closed_in_the_thread_that_read_it(
    num_frames: int | None,
) -> None:
    def gone(stage: str, done: float, total: float) -> None:
        raise Cancelled("gone")

    film = Opened(*[shot((60, 80))] * 40)
    with pytest.raises(Cancelled) as raised:
        track_faces(film, FPS, LipSyncOptions(), gone, num_frames)
    assert film.closed_in == film.read_in
    assert raised.traceback  # which would hold what was left open


@pytest.mark.parametrize("source", [Film, Photo])
def test_a_choice_that_no_frame_shows_is_an_error_that_names_the_places(
    source: type[Film | Photo],
) -> None:
    face = source(shot((20, 80), (400, 80)))
    face.scale = 0.5
    for choice in ("7", "1278,700"):
        with pytest.raises(NoFaceFound, match=f"'{choice}'; found: face=0") as caught:
            track_faces(face, FPS, LipSyncOptions(face=choice), no_progress)
        assert caught.value.field == "face"
        assert re.search(r"face=1 at \((8|9)\d\d, ", caught.value.detail), "pixels of the upload"


def test_a_choice_that_nobody_made_is_told_also_where_it_comes_late_in_the_video() -> None:
    other = 255 - SCENE // 3
    frames = [shot((60, 80))] * 3 + [shot((20, 80), (400, 80), scene=other)] * 2
    (said,) = [each for each in track(frames).warnings if "faces were found" in each]
    assert said.startswith("2 faces were found at 0.1 s and the largest speaks: face=0 at (")
    assert not track(frames[:3]).warnings


def test_a_face_that_is_too_small_in_all_frames_is_an_error_of_its_own() -> None:
    with pytest.raises(FaceTooSmall):
        track([shot((250, 120), scale=0.42)])


def test_a_film_of_which_all_is_shown_may_not_be_endless() -> None:
    slow = Fraction(1, 300)
    with pytest.raises(MediaTooLarge):
        track_faces(Film(*[shot((60, 80))] * 3), slow, LipSyncOptions(), no_progress)


def made_up(x: float) -> Face:
    landmarks = np.full((478, 3), 50, np.float32)
    landmarks[:, 0] = x + np.linspace(-40, 40, 478)
    return Face(bounding_box(landmarks, 640, 360), landmarks, 0.0)


def test_an_even_motion_is_not_held_back_and_jitter_shrinks() -> None:
    faces: list[Face | None] = [made_up(float(3 * index)) for index in range(9)]
    smooth_faces(faces, set(), 640, 360)
    assert [centre_x(face) for face in faces] == pytest.approx([3 * i for i in range(9)])
    jitter = np.random.default_rng(0).normal(0, 1, 60)
    faces = [made_up(100 + j) for j in jitter]
    smooth_faces(faces, set(), 640, 360)
    assert np.std([centre_x(face) for face in faces]) < 0.6 * jitter.std()


@pytest.mark.parametrize("count", range(1, 9))
def test_each_face_becomes_the_mean_of_those_around_it(count: int) -> None:
    places = np.random.default_rng(count).normal(100, 1, count)
    faces: list[Face | None] = [made_up(place) for place in places]
    smooth_faces(faces, set(), 640, 360)
    for index, face in enumerate(faces):
        reach = min(2, index, count - 1 - index)
        expected = places[index - reach : index + reach + 1].mean()
        assert centre_x(face) == pytest.approx(expected, abs=1e-3)


def test_gaps_cuts_and_leaps_end_the_averaging() -> None:
    places = [10, 10, None, 99, 99, 101, 101, 300, 300]
    faces = [None if x is None else made_up(x) for x in places]
    smooth_faces(faces, {5}, 640, 360)
    found = [None if face is None else round(centre_x(face), 3) for face in faces]
    assert found == places


def test_where_nobody_chose_among_several_the_faces_are_named() -> None:
    frame = shot((20, 80), (400, 80))
    for source in (Film(frame), Photo(frame, scale=0.5)):
        (said,) = [
            warning
            for warning in track_faces(source, FPS, LipSyncOptions(), no_progress).warnings
            if "faces were found" in warning
        ]
        found = re.findall(r"face=(\d) at \((\d+), \d+, (\d+), \d+\), score (0\.\d\d)", said)
        assert [index for index, *_ in found] == ["0", "1"]
        left, right = ((int(x1) + int(x2)) / 2 * source.scale for _, x1, x2, _ in found)
        assert left < 320 < right
    assert not any("faces were" in said for said in track([frame], "0").warnings)
