"""Another detector's boxes for the face that is followed."""

from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from contracts.errors import CheckpointMismatch, CheckpointMissing, EngineUnavailable
from contracts.lipsync import LipSyncOptions, RenderReport
from gpu_service.data import Detection, FaceTrack, no_progress
from gpu_service.engines.facewarp.engine import FacewarpEngine
from gpu_service.engines.wav2lip.engine import Wav2LipEngine
from gpu_service.faces import detectors
from gpu_service.faces.detect import find_face
from gpu_service.faces.detectors import Detectors, Watcher
from gpu_service.faces.track import track_faces
from gpu_service.render import RenderRequest, render
from gpu_service.weights.registry import weights_named
from gpu_service.weights.store import WeightsStore
from tests.fakes.detector import FakeDetector, FakeDetectors
from tests.fakes.generator import FakeGenerators, installed
from tests.media import Film, Photo, filmed, portrait, saved_frame, tone, wav
from tests.parity_weights import seeded_checkpoint

FPS = Fraction(25)
EMPTY = np.full((512, 512, 3), 128, np.uint8)
FACE = find_face(portrait())
SEEN = Detection(*(edge + 4.5 for edge in FACE.box), score=0.9)
"""The portrait's face as another detector sees it."""
AWAY = Detection(400.0, 300.0, 480.0, 400.0, 0.99)


def beside(detection: Detection, pixels: float) -> Detection:
    x1, y1, x2, y2, score = detection
    return Detection(x1 + pixels, y1, x2 + pixels, y2, score)


def test_the_detection_on_the_chosen_face_counts_and_not_the_surest() -> None:
    watcher = Watcher(FakeDetector([AWAY, beside(SEEN, 20), SEEN], [AWAY]))
    assert watcher.find(portrait(), FACE) == SEEN
    assert watcher.find(portrait(), FACE) is None


def test_a_face_that_turns_away_is_seen_until_the_detector_loses_it_too() -> None:
    looks = FakeDetector([SEEN], [AWAY, beside(SEEN, 20)], [beside(SEEN, 40)], [AWAY], [SEEN])
    watcher = Watcher(looks)
    found = [watcher.find(portrait(), face) for face in (FACE, None, None, None, None)]
    assert found == [SEEN, beside(SEEN, 20), beside(SEEN, 40), None, None]
    assert looks.looked == 4, "where nobody is followed, looking is dear"


def test_a_cut_ends_the_following_of_a_face_that_is_not_there() -> None:
    watcher = Watcher(FakeDetector([SEEN]))
    watcher.find(portrait(), FACE)
    assert watcher.find(EMPTY, None, cut=True) is None


def followed(smoothing: str, *answers: list[Detection]) -> FaceTrack:
    options = LipSyncOptions.model_validate({"smoothing": smoothing})
    film = Film(*[portrait()] * len(answers))
    return track_faces(film, FPS, options, no_progress, None, FakeDetector(*answers))


def test_a_track_tells_what_the_detector_sees_steadied_only_where_that_is_wanted() -> None:
    answers = [[beside(SEEN, pixels)] for pixels in (0, 3, -3, 6, 0)]
    raw = tuple(answer[0] for answer in answers)
    for smoothing in ("none", "release"):
        assert tuple(followed(smoothing, *answers).detections) == raw
    steady = followed("centred", *answers).detections
    assert steady[2] is not None
    assert steady[2].x1 == pytest.approx(SEEN.x1 + 1.2)
    assert steady[2].score == SEEN.score
    assert (steady[0], steady[4]) == (raw[0], raw[4])
    assert track_faces(Film(EMPTY, portrait()), FPS, LipSyncOptions(), no_progress).detections == ()


def test_a_photo_is_looked_at_once() -> None:
    detector = FakeDetector([SEEN])
    options = LipSyncOptions(detector="s3fd")
    track = track_faces(Photo(portrait()), FPS, options, no_progress, None, detector)
    assert (list(track.detections), detector.looked) == ([SEEN], 1)


def rendered(
    engine: Wav2LipEngine | FacewarpEngine,
    face: bytes,
    has: Detectors | None,
    **fields: str,
) -> RenderReport:
    options = LipSyncOptions.model_validate({"detector": "s3fd", **fields})
    request = RenderRequest(face, wav(tone(0.2, 16_000), 16_000), options)
    return render(request, engine, lambda _record, _payload: None, detectors=has)


def test_a_render_draws_also_where_only_the_detector_sees_the_face(tmp_path: Path) -> None:
    engine = Wav2LipEngine(installed(tmp_path, "wav2lip"), load=FakeGenerators().load)
    away = portrait()
    away[FACE.box.y1 - 20 : FACE.box.y2 + 20, FACE.box.x1 - 20 : FACE.box.x2 + 20] = 140
    film = filmed([portrait(), away, away])
    for paste, without in (("box", []), ("blend", [(1, 2), (4, 4)])):
        has = FakeDetectors(FakeDetector([SEEN]))
        report = rendered(engine, film, has, paste=paste)
        assert [(each.first, each.last) for each in report.frames_without_face] == without
        assert report.ignored == ()


def test_an_engine_that_cuts_out_no_box_needs_no_detector() -> None:
    report = rendered(FacewarpEngine(), saved_frame(portrait()), None)
    assert report.ignored == ("detector",)


def test_a_detector_that_the_host_does_not_have_is_an_error(tmp_path: Path) -> None:
    engine = Wav2LipEngine(installed(tmp_path, "wav2lip"), load=FakeGenerators().load)
    face = saved_frame(portrait())
    with pytest.raises(EngineUnavailable, match="s3fd"):
        rendered(engine, face, None)
    with pytest.raises(CheckpointMissing) as refused:
        rendered(engine, face, Detectors(WeightsStore(tmp_path), "cpu"))
    assert "weights fetch s3fd" in refused.value.hint
    assert refused.value.field == "detector"


def test_s3fd_is_loaded_once_and_anew_when_other_weights_are_installed(
    torch: ModuleType, tmp_path: Path
) -> None:
    store, weights = WeightsStore(tmp_path / "installed"), weights_named("s3fd")
    file = seeded_checkpoint(tmp_path / "s3fd.safetensors", "safetensors", "s3fd")
    store.add(file, weights, lambda _weights, _path: None)
    has = Detectors(store, "cpu")
    first = has.s3fd()
    assert has.s3fd() is first
    wrong = tmp_path / "s3fd.pth"
    wrong.write_bytes(b"no weights")
    store.add(wrong, weights, lambda _weights, _path: None)
    with pytest.raises(CheckpointMismatch):
        has.s3fd()


def test_without_pytorch_it_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        detectors, "find_spec", lambda name: None if name == "torch" else find_spec(name)
    )
    with pytest.raises(EngineUnavailable) as refused:
        Detectors(installed(tmp_path, "s3fd")).s3fd()
    assert "pip install torch" in refused.value.hint
