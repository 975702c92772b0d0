"""The engine as a whole, with a stand-in for the network."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from contracts.errors import (
    CheckpointMissing,
    NoFaceFound,
    OptionRejected,
)
from contracts.lipsync import LipSyncOptions
from gpu_service.data import (
    Box,
    Face,
    FacePatch,
    FaceTrack,
    SpeechChunk,
    no_progress,
)
from gpu_service.engines.wav2lip.engine import Wav2LipEngine
from gpu_service.faces.track import track_faces
from tests.fakes.generator import FakeGenerators, installed
from tests.media import Film, Photo, babble, portrait, silence, turned

FPS = Fraction(25)
PLAIN = LipSyncOptions()
EMPTY = np.full((512, 512, 3), 128, np.uint8)


@pytest.fixture
def engine(tmp_path: Path) -> Wav2LipEngine:
    return Wav2LipEngine(installed(tmp_path, "wav2lip"), load=FakeGenerators().load)


def drawn(
    engine: Wav2LipEngine,
    track: FaceTrack,
    seconds: float = 1.0,
    options: LipSyncOptions = PLAIN,
) -> list[FacePatch]:
    avatar = engine.prepare(track, options, no_progress)
    return list(engine.render(avatar, [SpeechChunk(babble(seconds))], options))


def film_track(*frames: np.ndarray) -> FaceTrack:
    return track_faces(Film(*frames), FPS, PLAIN, no_progress)


def test_frames_of_a_video_without_a_face_are_left_out(engine: Wav2LipEngine) -> None:
    track = film_track(portrait(), EMPTY, portrait())
    indexes = [patch.frame_index for patch in drawn(engine, track, 0.28)]
    assert indexes == [0, 2, 3, 5, 6]


def test_each_frame_is_drawn_over_the_source_frame_that_it_shows(engine: Wav2LipEngine) -> None:
    moved = np.roll(portrait(), 40, axis=1)
    track = film_track(portrait(), moved)
    avatar_boxes = [patch.box.x1 for patch in drawn(engine, track, 0.16)]
    assert avatar_boxes == [avatar_boxes[0], avatar_boxes[0] + 40] * 2
    held = FaceTrack(track.source, FPS, track.faces, source_index=lambda index: min(index, 1))
    assert [patch.box.x1 - avatar_boxes[0] for patch in drawn(engine, held, 0.16)] == [
        0, 40, 40, 40,
    ]  # fmt: skip


def test_the_box_does_not_move_on_a_photo(engine: Wav2LipEngine) -> None:
    track = track_faces(Photo(portrait()), FPS, PLAIN, no_progress)
    assert len({patch.box for patch in drawn(engine, track)}) == 1


def test_a_photo_rests_in_silence_and_moves_in_speech(engine: Wav2LipEngine) -> None:
    track = track_faces(Photo(portrait()), FPS, PLAIN, no_progress)
    avatar = engine.prepare(track, PLAIN, no_progress)
    speech = np.concatenate((silence(0.6), babble(1.0), silence(0.8)))
    patches = list(engine.render(avatar, [SpeechChunk(speech)], PLAIN))
    quiet, spoken = [*patches[:9], *patches[46:]], patches[18:38]
    assert all((patch.pixels == patches[0].pixels).all() for patch in quiet)
    assert any((patch.pixels != patches[0].pixels).any() for patch in spoken)


@pytest.mark.parametrize("seconds", [0.05, 0.001])
def test_the_shortest_speech_has_its_frame(engine: Wav2LipEngine, seconds: float) -> None:
    assert len(drawn(engine, film_track(portrait()), seconds)) == 1


def test_pads_and_paste_change_what_is_drawn(engine: Wav2LipEngine) -> None:
    track = film_track(portrait())
    plain, boxed, padded = (
        drawn(engine, track, 0.04, LipSyncOptions.model_validate(fields))[0]
        for fields in ({}, {"paste": "box"}, {"paste": "box", "pads": "10,30,5,5"})
    )
    assert boxed.alpha is None
    assert plain.alpha is not None
    assert plain.box.y1 > boxed.box.y1
    assert padded.box == Box(
        boxed.box.x1 - 5, boxed.box.y1 - 10, boxed.box.x2 + 5, boxed.box.y2 + 20
    )


def test_nothing_but_empty_frames_is_an_error(engine: Wav2LipEngine) -> None:
    with pytest.raises(NoFaceFound):
        engine.prepare(FaceTrack(Photo(EMPTY), FPS, (None,)), PLAIN, no_progress)


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_face_that_lies_or_hangs_is_refused_with_what_would_help(
    engine: Wav2LipEngine, turns: int
) -> None:
    lying = np.ascontiguousarray(np.rot90(portrait(), turns))
    track = track_faces(Photo(lying), FPS, PLAIN, no_progress)
    with pytest.raises(NoFaceFound, match="upright") as caught:
        engine.prepare(track, PLAIN, no_progress)
    assert "Turn the picture" in caught.value.hint


def test_a_video_is_left_as_it_is_while_the_face_lies(engine: Wav2LipEngine) -> None:
    lying = np.ascontiguousarray(np.rot90(portrait()))
    track = film_track(portrait(), lying, turned(portrait(), 30))
    assert all(track.faces)
    assert [patch.frame_index for patch in drawn(engine, track, 0.12)] == [0, 2]


def test_the_checkpoint_is_the_one_asked_for_and_the_gan_by_default(tmp_path: Path) -> None:
    store = installed(tmp_path, "wav2lip", "wav2lip_gan")
    runtime = FakeGenerators()
    engine = Wav2LipEngine(store, load=runtime.load)
    track = film_track(portrait())
    for checkpoint in (None, "wav2lip", "", "wav2lip_gan", "wav2lip"):
        engine.prepare(track, LipSyncOptions(checkpoint=checkpoint), no_progress)
    assert runtime.loaded == [store.find("wav2lip_gan"), store.find("wav2lip")]
    with pytest.raises(OptionRejected, match="s3fd"):
        engine.prepare(track, LipSyncOptions(checkpoint="s3fd"), no_progress)


def test_a_checkpoint_that_is_not_installed_is_named(engine: Wav2LipEngine, tmp_path: Path) -> None:
    with pytest.raises(CheckpointMissing, match="wav2lip_gan") as named:
        engine.prepare(
            film_track(portrait()), LipSyncOptions(checkpoint="wav2lip_gan"), no_progress
        )
    assert named.value.field == "checkpoint"
    with pytest.raises(CheckpointMissing) as refused:
        Wav2LipEngine(installed(tmp_path / "none"), load=FakeGenerators().load)
    assert "weights add" in refused.value.hint


@pytest.mark.parametrize(("fps", "largest"), [(25, 3), (60, 6), (10, 1)])
def test_as_many_frames_are_drawn_at_once_as_the_look_ahead_allows(
    tmp_path: Path, fps: int, largest: int
) -> None:
    runtime = FakeGenerators()
    engine = Wav2LipEngine(installed(tmp_path, "wav2lip"), load=runtime.load)
    drawn(engine, track_faces(Film(portrait()), Fraction(fps), PLAIN, no_progress))
    assert sum(runtime.batches) == fps
    assert max(runtime.batches) == largest


def test_a_face_that_stays_is_seen_once_and_others_with_their_frames(tmp_path: Path) -> None:
    runtime = FakeGenerators()
    engine = Wav2LipEngine(installed(tmp_path, "wav2lip"), load=runtime.load)
    drawn(engine, track_faces(Photo(portrait()), FPS, PLAIN, no_progress))
    assert runtime.seen == [1]
    drawn(engine, film_track(portrait(), portrait()), 0.2)
    assert runtime.seen[1:] == [3, 2]


def test_it_says_what_it_runs_on(engine: Wav2LipEngine) -> None:
    assert (engine.device, engine.runtime, engine.precision) == ("cpu", "fake", "fp32")


def given_face(box: Box) -> Face:
    """A face whose outline fills the box."""
    landmarks = np.zeros((478, 3), np.float32)
    landmarks[:, :2] = (box.x1, box.y1)
    landmarks[152, :2] = (box.x2, box.y2)
    return Face(box, landmarks, 0.0)


def test_a_given_box_is_pasted_whole(engine: Wav2LipEngine) -> None:
    box = Box(100, 48, 221, 208)
    track = FaceTrack(Photo(portrait()), FPS, (given_face(box),))
    options = LipSyncOptions(paste="box", pads="0,0,0,0")
    assert drawn(engine, track, 0.04, options)[0].box == box
