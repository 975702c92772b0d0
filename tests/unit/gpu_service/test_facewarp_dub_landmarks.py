"""Landmarks of a video's face, prompt and steady."""

from fractions import Fraction

import numpy as np
import pytest

from gpu_service.data import Box, Face, FaceTrack, Landmarks
from gpu_service.engines.facewarp.dub.landmarks import SeenLandmarks, choose_reference, lip_gap
from gpu_service.faces.detect import find_face
from gpu_service.faces.smooth import smooth_faces
from tests.dubbing import speaking
from tests.media import Film, numbered

WIDTH = 200.0


def smoothed(found: list[Landmarks | None]) -> SeenLandmarks:
    box = Box(0, 0, 300, 300)
    faces = [None if each is None else Face(box, each, 0.0) for each in found]
    steadied = smooth_faces(faces, set(), 600, 600)
    track = FaceTrack(Film(numbered(0)), Fraction(25), faces, steadied=steadied)
    return SeenLandmarks(track)


def face_at(lip: float) -> Landmarks:
    landmarks = np.zeros((478, 3), np.float32)
    landmarks[234, 0], landmarks[454, 0] = 50, 50 + WIDTH
    landmarks[14, :2] = 150, 150 + lip
    return landmarks


def test_lips_that_part_at_once_are_seen_at_once() -> None:
    seen = smoothed([face_at(0 if index < 6 else 20) for index in range(12)])
    lip = [float(each[14, 1]) - 150 for each in seen if each is not None]
    assert len(lip) == 12
    np.testing.assert_allclose(lip[:6], 0, atol=1.2)
    np.testing.assert_allclose(lip[6:], 20, atol=1.2)


def test_lips_that_rest_do_not_tremble() -> None:
    noise = np.random.default_rng(0).normal(0, 0.2, 60)
    seen = smoothed([face_at(each) for each in noise])
    lip = [float(each[14, 1]) for each in seen if each is not None]
    assert np.diff(lip, 2).std() < 0.4 * np.diff(noise, 2).std()


def test_what_was_not_smoothed_is_taken_as_it_is() -> None:
    landmarks = face_at(3)
    faces = [Face(Box(0, 0, 300, 300), landmarks, 0.0), None]
    seen = SeenLandmarks(FaceTrack(Film(numbered(0)), Fraction(25), faces))
    assert seen[0] is landmarks
    assert seen[1] is None
    assert len(seen[:]) == 2


@pytest.fixture(scope="module")
def shown() -> list[Landmarks]:
    return [find_face(frame).landmarks for frame in speaking([0.9, 0.5, 0.0, 0.2])]


def test_the_gap_grows_as_the_mouth_opens(shown: list[Landmarks]) -> None:
    gaps = [lip_gap(landmarks) for landmarks in shown]
    assert sorted(gaps, reverse=True) == [gaps[index] for index in (0, 1, 3, 2)]


def test_the_reference_is_a_frame_in_which_the_mouth_rests(shown: list[Landmarks]) -> None:
    assert choose_reference(shown) == 2
    assert choose_reference([None, shown[0], None, shown[2], None]) == 3


def test_of_frames_at_rest_the_largest_face_is_taken(shown: list[Landmarks]) -> None:
    rest = shown[2]
    assert choose_reference([rest, rest * np.float32(1.5), shown[0] * np.float32(2)]) == 1
