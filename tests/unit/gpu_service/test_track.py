"""Tracking the chosen face, and the warnings about its picture."""

import dataclasses
from fractions import Fraction

import cv2
import numpy as np
import pytest

from contracts.errors import FaceTooSmall, NoFaceFound
from contracts.lipsync import LipSyncOptions
from gpu_service.data import Frame, no_progress
from gpu_service.faces.detect import find_face
from gpu_service.faces.track import face_warnings, track_faces
from tests.media import Film, Photo, portrait, scaled, turned

FPS = Fraction(25)
EMPTY = np.full((512, 512, 3), 128, np.uint8)


def warnings_of(frame: Frame) -> str:
    return " ".join(track_faces(Photo(frame), FPS, LipSyncOptions(), no_progress).warnings)


def test_a_photo_has_one_face_and_a_good_one_no_warning() -> None:
    track = track_faces(Photo(portrait()), FPS, LipSyncOptions(), no_progress)
    assert len(track.faces) == 1
    assert track.faces[0] is not None
    assert track.fps == FPS
    assert track.warnings == ()


def test_a_video_keeps_its_frames_without_a_face() -> None:
    film = Film(portrait(), EMPTY, portrait())
    found = [
        face is not None for face in track_faces(film, FPS, LipSyncOptions(), no_progress).faces
    ]
    assert found == [True, False, True]


def test_progress_is_told_of_every_frame() -> None:
    told: list[float] = []
    film = Film(portrait(), portrait())
    track_faces(film, FPS, LipSyncOptions(), lambda _stage, done, _total: told.append(done))
    assert told == [1, 2]


def test_a_point_counts_in_pixels_of_the_picture_before_it_was_scaled_down() -> None:
    halved = Photo(portrait(), scale=0.5)
    x, y = (2 * find_face(portrait()).landmarks[1, :2]).astype(int).tolist()
    assert track_faces(halved, FPS, LipSyncOptions(face=f"{x},{y}"), no_progress).faces[0]
    with pytest.raises(NoFaceFound):
        track_faces(halved, FPS, LipSyncOptions(face=f"{x // 2},{y // 2}"), no_progress)


@pytest.mark.parametrize("source", [Photo(EMPTY), Film(EMPTY, EMPTY)])
def test_nothing_but_empty_frames_is_an_error(source: Photo | Film) -> None:
    with pytest.raises(NoFaceFound):
        track_faces(source, FPS, LipSyncOptions(), no_progress)


def test_a_face_that_is_too_small_is_an_error_of_its_own() -> None:
    with pytest.raises(FaceTooSmall):
        track_faces(Photo(scaled(portrait(), 0.4)), FPS, LipSyncOptions(), no_progress)


def test_a_video_whose_face_only_scaling_down_makes_too_small_says_so() -> None:
    film = Film(scaled(portrait(), 0.4))
    film.scale = 0.5
    with pytest.raises(FaceTooSmall, match="in the upload") as caught:
        track_faces(film, FPS, LipSyncOptions(), no_progress)
    assert "max_height" in caught.value.hint


def test_what_hurts_the_picture_is_said() -> None:
    large = scaled(portrait(), 2.0)
    assert "dark" in warnings_of((large * 0.15).astype(np.uint8))
    assert "blurred" in warnings_of(np.asarray(cv2.GaussianBlur(large, (0, 0), 6), np.uint8))
    assert "small" in warnings_of(scaled(portrait(), 0.6))


@pytest.mark.parametrize("share", [30, 50])
def test_a_blur_is_said_of_faces_of_any_size(share: int) -> None:
    for scale in (1.0, 4.0):
        picture = scaled(portrait(), scale)
        assert "blurred" not in warnings_of(picture)
        blurred = cv2.GaussianBlur(picture, (0, 0), 92 * scale / share)
        assert "blurred" in warnings_of(np.asarray(blurred, np.uint8))


def test_a_face_that_lies_or_hangs_is_said_to() -> None:
    for turns in (1, 2, 3):
        assert "upright" in warnings_of(np.ascontiguousarray(np.rot90(portrait(), turns)))
    assert "upright" not in warnings_of(turned(portrait(), 30))


def test_a_face_turned_far_to_the_side_is_said() -> None:
    face = find_face(portrait())
    landmarks = face.landmarks.copy()
    landmarks[1, 0] -= 22
    aside = dataclasses.replace(face, landmarks=landmarks)
    assert "turned" in " ".join(face_warnings(portrait(), aside))
