"""What moves in a video, measured on films whose movement is known."""

import numpy as np
import pytest

from gpu_service.data import Face, Frame
from gpu_service.engines.facewarp.dub.landmarks import lip_gap
from gpu_service.engines.facewarp.dub.motion import Motion, measure_motion
from gpu_service.engines.facewarp.portrait import build_portrait
from tests.dubbing import faces_of, landmarks_of, moved, moves, speaking

OPENINGS = [0.9, 0.6, 0.0, 0.0, 0.4, 0.8]
Film = tuple[list[Frame], list[Face | None]]


@pytest.fixture(scope="module")
def film() -> Film:
    frames = moved(speaking(OPENINGS))
    return frames, faces_of(frames)


def measured(film: Film, index: int) -> Motion:
    frames, faces = film
    face = faces[index]
    assert face is not None
    return measure_motion(build_portrait(frames[index], face), face.landmarks, landmarks_of(faces))


def test_a_frame_without_a_face_has_no_place(film: Film) -> None:
    frames, faces = film
    lost = [None, *faces[1:3], None, *faces[4:]]
    places = measured((frames, lost), 2).places
    assert [place is None for place in places] == [face is None for face in lost]


def test_the_reference_is_where_it_is_and_does_nothing(film: Film) -> None:
    motion = measured(film, 2)
    place = motion.places[2]
    assert place is not None
    np.testing.assert_allclose(place.to_frame, [[1, 0, 0], [0, 1, 0]], atol=0.01)
    fields = np.tensordot(place.coeffs, motion.lower_fields, 1)
    assert np.abs(fields).max() < 0.02


def test_the_heads_movement_is_found(film: Film) -> None:
    motion, wanted = measured(film, 2), moves(len(OPENINGS))
    face = film[1][2]
    assert face is not None
    middle = np.append(face.landmarks[[78, 308], :2].mean(axis=0), 1)
    still = np.linalg.inv(np.vstack((wanted[2], (0, 0, 1)))) @ middle
    for place, move in zip(motion.places, wanted, strict=True):
        assert place is not None
        # Head and camera move no mouth: what is left over is the landmarks' own error.
        assert np.linalg.norm(place.to_frame @ middle - move @ still) < 4


def test_lips_that_part_are_told_from_a_head_that_moves(film: Film) -> None:
    motion, faces = measured(film, 2), film[1]
    gaps = [lip_gap(face.landmarks) for face in faces if face is not None]
    apart = []
    for place in motion.places:
        assert place is not None
        upper, lower = (
            np.tensordot(place.coeffs, fields, 1)[..., 1]
            for fields in (motion.upper_fields, motion.lower_fields)
        )
        apart.append(float((lower - upper).max()))
    assert np.corrcoef(gaps, apart)[0, 1] > 0.98
    assert max(apart[2:4]) < 0.2 * max(apart)


def test_a_mouth_beside_its_place_is_found_where_the_face_has_it(film: Film) -> None:
    frames, faces = film
    face = faces[2]
    assert face is not None
    beside = face.landmarks.copy()
    mouth = [78, 308, 61, 291, 0, 17, 13, 14]
    beside[mouth, 0] += 6
    motion = measure_motion(
        build_portrait(frames[2], face), face.landmarks, [face.landmarks, beside]
    )
    middle = np.append(face.landmarks[[78, 308], :2].mean(axis=0), 1)
    still, shifted = (place.to_frame @ middle for place in motion.places if place is not None)
    np.testing.assert_allclose(shifted - still, (6, 0), atol=0.5)
