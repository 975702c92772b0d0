"""The engine's own edges; what every engine must do is in the contract suite."""

from fractions import Fraction

import numpy as np
import pytest

from contracts.errors import NoFaceFound
from contracts.lipsync import LipSyncOptions
from gpu_service.data import FaceTrack, SpeechChunk, no_progress
from gpu_service.engines.facewarp.engine import FacewarpEngine
from gpu_service.faces.track import track_faces
from tests.media import Film, Photo, babble, portrait

FPS = Fraction(25)
OPTIONS = LipSyncOptions()


def test_a_photo_speaks_at_the_tracks_own_rate() -> None:
    engine = FacewarpEngine()
    track = track_faces(Photo(portrait()), Fraction(30), OPTIONS, no_progress)
    avatar = engine.prepare(track, OPTIONS, no_progress)
    patches = list(engine.render(avatar, [SpeechChunk(babble(1.0))], OPTIONS))
    assert [patch.frame_index for patch in patches] == list(range(30))
    assert len({patch.box for patch in patches}) == 1
    assert any(np.any(patch.pixels != patches[0].pixels) for patch in patches)


def test_a_track_without_a_face_is_refused() -> None:
    for source in (Photo(portrait()), Film(portrait())):
        with pytest.raises(NoFaceFound):
            FacewarpEngine().prepare(FaceTrack(source, FPS, (None,)), OPTIONS, no_progress)
