"""Other mouths in the frames of a film, measured by the same face mesh a stranger would use."""

from typing import NamedTuple

import numpy as np
import pytest

from gpu_service.data import Face, Frame
from gpu_service.engines.facewarp.dub.landmarks import choose_reference
from gpu_service.engines.facewarp.dub.motion import Motion, measure_motion
from gpu_service.engines.facewarp.dub.renderer import Drawn, DubRenderer
from gpu_service.engines.facewarp.portrait import build_portrait
from gpu_service.engines.facewarp.shape import REST, MouthShape
from gpu_service.faces.opening import mouth_opening
from tests.dubbing import face_again, faces_of, landmarks_of, moved, speaking

OWN = [0.0, 0.3, 0.9, 0.6, 0.1, 0.7, 0.0, 0.5]
WANTED = [0.8, 0.1, 0.0, 0.5, 0.3, 0.9, 0.0, 0.6]


class Dubbed(NamedTuple):
    frames: list[Frame]
    faces: list[Face]
    motion: Motion
    renderer: DubRenderer
    reference: int

    def drawn(self, index: int, shape: MouthShape) -> Frame:
        box, pixels = self.patch(index, shape)
        frame = self.frames[index].copy()
        frame[box.y1 : box.y2, box.x1 : box.x2] = pixels
        return frame

    def patch(self, index: int, shape: MouthShape) -> Drawn:
        drawn = self.renderer.render(self.frames[index], index, shape)
        assert drawn is not None
        return drawn

    def opening(self, index: int, shape: MouthShape) -> float:
        return mouth_opening(face_again(self.drawn(index, shape), self.faces[index]).landmarks)


def dubbed(frames: list[Frame]) -> Dubbed:
    found = faces_of(frames)
    faces = [face for face in found if face is not None]
    index = choose_reference(landmarks_of(found))
    built = build_portrait(frames[index], faces[index])
    motion = measure_motion(built, faces[index].landmarks, landmarks_of(found))
    return Dubbed(frames, faces, motion, DubRenderer(built, motion), index)


@pytest.fixture(scope="module")
def film() -> Dubbed:
    return dubbed(moved(speaking(OWN)))


@pytest.fixture(scope="module")
def open_film() -> Dubbed:
    """A film in which the mouth never shuts."""
    return dubbed(moved(speaking([0.5, 0.8, 0.6, 0.9])))


@pytest.fixture(params=["film", "open_film"])
def each_film(request: pytest.FixtureRequest) -> Dubbed:
    found: Dubbed = request.getfixturevalue(request.param)
    return found


def opened(opening: float) -> MouthShape:
    return MouthShape(opening, 0.0, 0.0, 0.0, 0.0)


def test_the_mouth_obeys_the_speech_and_not_the_film(film: Dubbed) -> None:
    measured = [film.opening(index, opened(each)) for index, each in enumerate(WANTED)]
    assert np.corrcoef(WANTED, measured)[0, 1] > 0.95
    before = [mouth_opening(face.landmarks) for face in film.faces]
    # What the film's own mouth explains beyond what is wanted.
    table = np.column_stack((np.ones(len(OWN)), WANTED, before))
    shares = np.linalg.lstsq(table, np.array(measured), rcond=None)[0]
    assert abs(shares[2]) < 0.15


def test_silence_shuts_the_mouth_in_every_frame(each_film: Dubbed) -> None:
    widest = each_film.opening(each_film.reference, opened(1.0))
    rest = [each_film.opening(index, REST) for index in range(len(each_film.frames))]
    assert max(rest) < 0.2 * widest


def test_a_face_at_rest_that_is_to_rest_is_hardly_touched(film: Dubbed) -> None:
    drawn = film.drawn(film.reference, REST).astype(int)
    off = np.abs(drawn - film.frames[film.reference])
    assert off.mean() < 0.1
    assert np.percentile(off, 99.5) <= 3


def test_only_the_lower_face_changes_and_nothing_at_the_patchs_border(film: Dubbed) -> None:
    for index, face in enumerate(film.faces):
        box, pixels = film.patch(index, opened(1.0))
        frame = film.frames[index]
        before = frame[box.y1 : box.y2, box.x1 : box.x2]
        for border in (np.s_[0], np.s_[-1], np.s_[:, 0], np.s_[:, -1]):
            np.testing.assert_array_equal(pixels[border], before[border])
        assert box.y1 > face.landmarks[[159, 386], 1].min()
        rows = np.flatnonzero((pixels != before).any(axis=(1, 2)))
        assert box.y1 + rows[0] > face.landmarks[[159, 386], 1].max()


def test_a_shape_gives_the_same_pixels_whatever_came_before(film: Dubbed) -> None:
    first = film.patch(3, opened(0.4))
    film.patch(5, opened(1.0))
    again = film.patch(3, opened(0.4))
    assert first.box == again.box
    np.testing.assert_array_equal(first.pixels, again.pixels)


@pytest.mark.parametrize("opening", [0.3, 0.9])
def test_the_mouth_is_as_dark_as_its_frame(each_film: Dubbed, opening: float) -> None:
    film, shape = each_film, opened(opening)
    index = film.reference
    bright = film.patch(index, shape).pixels.astype(float)
    dark_frame = np.rint(film.frames[index] * 0.6).astype(np.uint8)
    drawn = film.renderer.render(dark_frame, index, shape)
    assert drawn is not None
    assert np.percentile(np.abs(drawn.pixels - bright * 0.6), 99) < 4


def test_a_frame_without_a_face_is_left_alone(film: Dubbed) -> None:
    lost = DubRenderer(
        build_portrait(film.frames[film.reference], film.faces[film.reference]),
        Motion([None], film.motion.upper_fields, film.motion.lower_fields),
    )
    assert lost.render(film.frames[0], 0, REST) is None


def test_a_face_that_leaves_the_picture_is_drawn_as_far_as_it_is_seen(film: Dubbed) -> None:
    index = film.reference
    mouth = film.faces[index].landmarks[[78, 308], :2].mean(axis=0).astype(int)
    cut = np.ascontiguousarray(film.frames[index][: mouth[1] + 20, : mouth[0] + 5])
    whole, part = film.patch(index, opened(0.8)), film.renderer.render(cut, index, opened(0.8))
    assert part is not None
    assert part.box.x2 == cut.shape[1]
    assert part.box.y2 == cut.shape[0]
    width, height = part.box.width - 12, part.box.height - 12
    off = np.abs(part.pixels[:height, :width].astype(int) - whole.pixels[:height, :width])
    assert np.percentile(off, 99) < 8


def test_what_is_beside_the_face_does_not_colour_the_mouth(film: Dubbed) -> None:
    index, shape = film.reference, opened(0.9)
    left, right = film.faces[index].landmarks[[78, 308], 0]
    half = (right - left) / 2
    screen = film.frames[index].copy()
    screen[:, : int(left - 0.4 * half)] = screen[:, int(right + 0.4 * half) :] = (255, 60, 0)
    before, drawn = film.patch(index, shape), film.renderer.render(screen, index, shape)
    assert drawn is not None
    columns = slice(int(left) - drawn.box.x1, int(right) - drawn.box.x1)
    off = np.abs(drawn.pixels[:, columns].astype(int) - before.pixels[:, columns])
    assert np.percentile(off, 99) <= 2
