"""The engine's own edges; what every engine must do is in the contract suite."""

from fractions import Fraction
from itertools import islice

import cv2
import numpy as np
import pytest

from contracts.errors import NoFaceFound
from contracts.lipsync import LipSyncOptions, Motion
from gpu_service.compose import compose
from gpu_service.data import (
    SPEECH_RATE,
    Face,
    FacePatch,
    FaceTrack,
    Frame,
    Samples,
    SpeechChunk,
    no_progress,
)
from gpu_service.engines.facewarp.engine import FacewarpAvatar, FacewarpEngine
from gpu_service.engines.facewarp.warp.geometry import mouth_frame
from gpu_service.faces.detect import bounding_box, face_width, find_face
from gpu_service.faces.track import track_faces
from tests.media import Counted, Film, Photo, babble, portrait, silence

FPS = Fraction(25)
OPTIONS = LipSyncOptions()


def prepared(options: LipSyncOptions) -> FacewarpAvatar:
    track = track_faces(Photo(portrait()), FPS, options, no_progress)
    return FacewarpEngine().prepare(track, options, no_progress)


def patches_of(options: LipSyncOptions, speech: Samples) -> list[FacePatch]:
    return list(FacewarpEngine().render(prepared(options), [SpeechChunk(speech)], options))


def composed(patch: FacePatch) -> Frame:
    return compose(portrait(), patch)


def test_a_photo_speaks_at_the_tracks_own_rate() -> None:
    engine = FacewarpEngine()
    track = track_faces(Photo(portrait()), Fraction(30), OPTIONS, no_progress)
    avatar = engine.prepare(track, OPTIONS, no_progress)
    patches = list(engine.render(avatar, [SpeechChunk(babble(1.0))], OPTIONS))
    assert [patch.frame_index for patch in patches] == list(range(30))
    assert len({patch.box for patch in patches}) == 1
    assert any(np.any(patch.pixels != patches[0].pixels) for patch in patches)


def test_still_moves_the_mouth_and_nothing_else() -> None:
    still = patches_of(LipSyncOptions(motion="still"), babble(2.0))
    natural = patches_of(LipSyncOptions(), babble(2.0))
    assert still[0].box.width < natural[0].box.width
    eyes = round(float(find_face(portrait()).landmarks[[145, 374], 1].max()))
    for patch in still:
        np.testing.assert_array_equal(composed(patch)[:eyes], portrait()[:eyes])
    assert np.any(still[20].pixels != still[0].pixels)
    other_seed = patches_of(LipSyncOptions(motion="still", seed=7), babble(2.0))
    for patch, other in zip(still, other_seed, strict=True):
        np.testing.assert_array_equal(patch.pixels, other.pixels)


def test_the_seed_decides_how_the_head_moves() -> None:
    speech = babble(2.0)
    once, again = (patches_of(LipSyncOptions(seed=1), speech) for _ in range(2))
    other = patches_of(LipSyncOptions(seed=2), speech)
    for first, second in zip(once, again, strict=True):
        np.testing.assert_array_equal(first.pixels, second.pixels)
    assert np.any(once[40].pixels != other[40].pixels)


def test_a_lively_video_starts_with_the_photos_own_head() -> None:
    natural = patches_of(LipSyncOptions(), silence(1.0))
    still = patches_of(LipSyncOptions(motion="still"), silence(1.0))
    for patches in (natural, still):
        shown = composed(patches[0])
        eyes = find_face(portrait()).box
        np.testing.assert_array_equal(
            shown[: eyes.y1 + eyes.height // 3], portrait()[: eyes.y1 + eyes.height // 3]
        )


def test_silence_gives_idle_frames_for_as_long_as_it_lasts() -> None:
    engine = FacewarpEngine()
    heard = Counted(SpeechChunk(silence(0.1)) for _ in range(10**6))
    patches = engine.render(prepared(LipSyncOptions()), heard, LipSyncOptions())
    shown = list(islice(patches, 100))
    assert heard.num_samples <= (3.96 + engine.info.look_ahead_seconds + 0.1) * SPEECH_RATE
    assert np.any(shown[99].pixels != shown[60].pixels)


def test_a_track_without_a_face_is_refused() -> None:
    for source in (Photo(portrait()), Film(portrait())):
        with pytest.raises(NoFaceFound):
            FacewarpEngine().prepare(FaceTrack(source, FPS, (None,)), OPTIONS, no_progress)


def shifted(x: float, y: float, source: type[Photo] | type[Film] = Photo) -> FaceTrack:
    """The sample's face moved in its picture, by face widths."""
    face = find_face(portrait())
    moved = face.landmarks + np.float32(face_width(face.landmarks)) * np.array(
        (x, y, 0), np.float32
    )
    frame = cv2.warpAffine(
        portrait(),
        np.hstack((np.eye(2), (moved - face.landmarks)[:1, :2].T)),
        portrait().shape[1::-1],
        borderMode=cv2.BORDER_REFLECT,
    )
    height, width = frame.shape[:2]
    box = bounding_box(moved, width, height)
    return FaceTrack(source(frame), FPS, (Face(box, moved, 0.0),))


@pytest.mark.parametrize("motion", ["natural", "still"])
def test_a_mouth_beyond_the_border_is_refused(motion: Motion) -> None:
    options = LipSyncOptions(motion=motion)
    for x, y in ((-3, 0), (3.5, 0), (0, -2), (0, 4.5)):
        with pytest.raises(NoFaceFound, match="mouth"):
            FacewarpEngine().prepare(shifted(x, y), options, no_progress)
        with pytest.raises(NoFaceFound, match="mouth"):
            FacewarpEngine().prepare(shifted(x, y, Film), options, no_progress)


@pytest.mark.parametrize("motion", ["natural", "still"])
def test_a_face_speaks_whose_eyes_the_border_cuts_off(motion: Motion) -> None:
    options = LipSyncOptions(motion=motion)
    mouth = mouth_frame(find_face(portrait()).landmarks)
    width = face_width(find_face(portrait()).landmarks)
    top = -(float(mouth.origin[1]) - 3) / width
    for x, y in ((0.0, top), (-2.35, 0.0), (3.1, 0.0)):
        avatar = FacewarpEngine().prepare(shifted(x, y), options, no_progress)
        patches = list(FacewarpEngine().render(avatar, [SpeechChunk(babble(0.4))], options))
        assert len(patches) == 10
