"""Videos that speak, from the track of their faces to the patches."""

from fractions import Fraction

import numpy as np
import pytest

from contracts.lipsync import LengthMode, LipSyncOptions
from gpu_service.data import Face, FaceTrack, SpeechChunk, no_progress
from gpu_service.engines.facewarp.dub.dub import build_dub
from gpu_service.faces.track import track_faces
from gpu_service.timeline import plan
from tests.dubbing import faces_of, moved, speaking
from tests.media import Film, babble, silence

FPS = Fraction(25)
FRAMES = moved(speaking([0.0, 0.4, 0.8, 0.3, 0.0, 0.6, 0.2, 0.0]))
SPEECH = [SpeechChunk(babble(0.8))]


@pytest.fixture(scope="module")
def faces() -> list[Face | None]:
    return faces_of(FRAMES)


def test_frames_without_a_face_pass_through(faces: list[Face | None]) -> None:
    lost = [*faces[:2], None, None, *faces[4:]]
    patches = list(build_dub(FaceTrack(Film(*FRAMES), FPS, lost), no_progress).render(SPEECH))
    assert [patch.frame_index for patch in patches] == [
        index for index in range(20) if index % 8 not in (2, 3)
    ]


@pytest.mark.parametrize("mode", ["loop", "bounce", "remap", "cut_off", "silence"])
def test_each_patch_is_made_of_the_frame_that_is_shown(
    mode: LengthMode, faces: list[Face | None]
) -> None:
    timeline = plan(FPS, 20, len(FRAMES), mode)
    track = FaceTrack(Film(*FRAMES), FPS, faces, source_index=timeline.source_index)
    for patch in build_dub(track, no_progress).render(SPEECH):
        box, frame = patch.box, FRAMES[timeline.source_index(patch.frame_index)]
        np.testing.assert_array_equal(patch.pixels[0], frame[box.y1, box.x1 : box.x2])
        np.testing.assert_array_equal(patch.pixels[:, 0], frame[box.y1 : box.y2, box.x1])


def test_a_track_says_how_far_its_landmarks_were_steadied() -> None:
    film = Film(*FRAMES)
    smooth = track_faces(film, FPS, LipSyncOptions(), no_progress)
    found = track_faces(film, FPS, LipSyncOptions(smoothing="none"), no_progress)
    assert found.steadied == ()
    for face, shifts, before in zip(smooth.faces, smooth.steadied, found.faces, strict=True):
        assert face is not None
        assert shifts is not None
        assert before is not None
        np.testing.assert_allclose(face.landmarks - shifts, before.landmarks, atol=0.01)


def test_silence_is_drawn_without_end(faces: list[Face | None]) -> None:
    dub = build_dub(FaceTrack(Film(*FRAMES), FPS, faces), no_progress)
    patches = dub.render(SpeechChunk(silence(0.1)) for _ in range(10**6))
    assert [next(patches).frame_index for _ in range(20)] == list(range(20))
