"""Who is in the scenes of a film."""

from fractions import Fraction
from itertools import chain

import cv2
import numpy as np
import pytest

from contracts.errors import NoFaceFound
from gpu_service.data import Face, FaceTrack, SpeechChunk, no_progress
from gpu_service.engines.facewarp.dub.dub import build_dub
from gpu_service.engines.facewarp.dub.people import MOST_PEOPLE, Part, find_people
from tests.dubbing import faces_of, landmarks_of, moved, speaking
from tests.media import Film, babble

FPS = Fraction(25)
ONE = moved(speaking([0.0, 0.4, 0.0, 0.8]))
OTHER = [
    np.ascontiguousarray(cv2.copyMakeBorder(
        cv2.resize(frame, (330, 440), interpolation=cv2.INTER_AREA),
        0, 0, 50, 60, cv2.BORDER_REPLICATE,
    ))
    for frame in moved(speaking([0.3, 0.0, 0.6, 0.0]))
]  # fmt: skip
"""Somebody with a narrow face."""


@pytest.fixture(scope="module")
def faces() -> list[Face | None]:
    return faces_of([*ONE, *OTHER])


def scenes(faces: list[Face | None], chosen: list[int]) -> FaceTrack:
    return FaceTrack(Film(*ONE, *OTHER), FPS, faces, chosen=chosen)


def test_a_film_without_a_cut_has_one_person(faces: list[Face | None]) -> None:
    track = scenes([None, *faces[1:4]], [1])
    (person,) = find_people(track, landmarks_of(track.faces))
    assert person.frames == [1, 2, 3]
    assert person.at_rest == [2]


def test_who_comes_back_is_known_again(faces: list[Face | None]) -> None:
    cut = [*faces[:4], *faces[4:6], *faces[2:4], None, None, *faces[5:8]]
    track = scenes(cut, [0, 4, 6, 8, 10])
    people = find_people(track, landmarks_of(track.faces))
    assert [person.frames for person in people] == [[0, 1, 2, 3, 6, 7], [4, 5, 10, 11, 12]]
    assert [len(person.at_rest) for person in people] == [2, 2]


def test_a_film_of_many_people_has_no_more_references_than_may_be(
    faces: list[Face | None],
) -> None:
    first, many = faces[0], []
    assert first is not None
    for narrow in np.linspace(1, -3, 2 * MOST_PEOPLE):
        landmarks = first.landmarks.copy()
        middle = landmarks[1, 0]
        mouth = landmarks[:, 1] > landmarks[2, 1]
        landmarks[mouth, 0] = middle + (landmarks[mouth, 0] - middle) * narrow
        many.append(Face(first.box, landmarks, 0.0))
    track = scenes([*many], [*range(len(many))])
    people = find_people(track, landmarks_of(track.faces))
    assert len(people) == MOST_PEOPLE
    assert sorted(chain(*(person.frames for person in people))) == [*range(len(many))]


def test_a_part_reads_the_frames_that_are_meant(faces: list[Face | None]) -> None:
    seen = landmarks_of(faces)
    part = Part(seen, [2, 5])
    assert len(part) == 2
    assert part[1] is seen[5]
    assert [*part] == part[:] == [seen[2], seen[5]]


def test_nobody_gets_the_mouth_of_who_was_there_before_the_cut(
    faces: list[Face | None],
) -> None:
    speech = [SpeechChunk(babble(0.16))]
    alone = FaceTrack(Film(*OTHER), FPS, faces[4:])
    both = FaceTrack(
        Film(*ONE, *OTHER), FPS, faces, chosen=[0, 4], source_index=lambda index: 4 + index
    )
    wanted = [*build_dub(alone, no_progress).render(speech)]
    found = [*build_dub(both, no_progress).render(speech)]
    assert len(wanted) == 4
    for one, other in zip(wanted, found, strict=True):
        assert one.box == other.box
        np.testing.assert_array_equal(one.pixels, other.pixels)


def shifted(face: Face | None, down: float) -> Face:
    assert face is not None
    landmarks = face.landmarks + np.array([0, down, 0], np.float32)
    return Face(face.box, landmarks, 0.0)


def test_a_reference_shows_the_whole_mouth_if_any_frame_does(faces: list[Face | None]) -> None:
    half = shifted(faces[2], 440 - shifted(faces[2], 0).landmarks[61, 1])
    track = scenes([half, faces[1], half, faces[3]], [0])
    (person,) = find_people(track, landmarks_of(track.faces))
    assert person.at_rest == [1]
    assert person.frames == [0, 1, 2, 3]


def test_a_scene_whose_border_cuts_off_the_mouth_is_left_as_it_is(
    faces: list[Face | None],
) -> None:
    away = [shifted(face, 300) for face in faces[4:]]
    track = scenes([*faces[:4], *away], [0, 4])
    patches = build_dub(track, no_progress).render([SpeechChunk(babble(0.32))])
    assert [patch.frame_index for patch in patches] == [0, 1, 2, 3]
    with pytest.raises(NoFaceFound, match="border cuts off the mouth"):
        build_dub(scenes([*away, *away], [0]), no_progress)
