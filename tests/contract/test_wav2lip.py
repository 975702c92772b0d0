"""Wav2Lip's true network with seeded weights, from the checkpoint's file to the video."""

import io
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import ModuleType

import av
import numpy as np
import pytest
import requests

from contracts.lipsync import LipSyncOptions
from contracts.records import RECORDS_MEDIA_TYPE, EndRecord, decode_records
from gpu_service.app import create_app
from gpu_service.data import Box, Face, FaceTrack, SpeechChunk, no_progress
from gpu_service.engines.wav2lip.engine import Wav2LipEngine
from gpu_service.settings import Compute, Settings
from gpu_service.weights.registry import weights_named
from gpu_service.weights.store import WeightsStore
from tests.fakes.serving import serving
from tests.media import Photo, babble, cut, filmed, picture, portrait, saved_frame, wav
from tests.parity_weights import seeded_checkpoint

FPS = Fraction(25)
TIMEOUT = 120


@pytest.fixture(scope="module")
def store(torch: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> WeightsStore:
    folder = tmp_path_factory.mktemp("weights")
    file = seeded_checkpoint(folder / "wav2lip.pth", "safetensors")
    store = WeightsStore(folder / "installed")
    store.add(file, weights_named("wav2lip"), lambda _weights, _path: None, accepted=True)
    return store


@pytest.fixture(scope="module")
def host(store: WeightsStore) -> Iterator[str]:
    with serving(create_app(Settings(weights_dir=store.folder, device="cpu"))) as url:
        yield url


def test_frames_do_not_depend_on_how_the_speech_is_cut_with_the_true_network_either(
    store: WeightsStore,
) -> None:
    engine = Wav2LipEngine(store, Compute("cpu"))
    landmarks = np.zeros((478, 3), np.float32)
    frame, box = np.asarray(picture(320, 240)), Box(100, 48, 221, 208)
    landmarks[:, :2], landmarks[152, :2] = (box.x1, box.y1), (box.x2, box.y2)
    track = FaceTrack(Photo(frame), FPS, (Face(box, landmarks, 0.0),))
    options = LipSyncOptions(paste="box", pads="0,0,0,0")
    avatar = engine.prepare(track, options, no_progress)
    speech = SpeechChunk(babble(0.44))
    whole = list(engine.render(avatar, [speech], options))
    pieces = list(engine.render(avatar, cut(speech, [77, 1600]), options))
    assert len(whole) == len(pieces) == 11
    for one, other in zip(whole, pieces, strict=True):
        assert one.box == other.box == box
        np.testing.assert_array_equal(one.pixels, other.pixels)
    assert any((patch.pixels != whole[0].pixels).any() for patch in whole)


def test_a_photo_is_rendered_by_auto(host: str) -> None:
    face = saved_frame(portrait())
    answer = requests.post(
        f"{host}/render",
        files={"face": face, "speech": wav(babble(0.4)[np.newaxis], 16_000)},
        timeout=TIMEOUT,
    )
    assert answer.status_code == 200, answer.text
    assert answer.headers["X-Engine"] == "wav2lip"
    with av.open(io.BytesIO(answer.content)) as video:
        frames = [frame.to_ndarray(format="bgr24") for frame in video.decode(video=0)]
        assert "wav2lip" in video.metadata["comment"]
    assert len(frames) == 10
    eyes, mouth = np.s_[80:120, 190:260], np.s_[135:165, 200:250]
    still, spoken = (
        np.abs(np.diff(np.stack([frame[part] for frame in frames]).astype(int), axis=0)).mean()
        for part in (eyes, mouth)
    )
    assert spoken > 3 * still


def test_a_video_is_rendered_and_its_empty_frames_pass_through(host: str) -> None:
    empty = np.full_like(portrait(), 128)
    film = filmed([portrait()] * 3 + [empty] * 2)
    answer = requests.post(
        f"{host}/render",
        files={"face": film, "speech": wav(babble(0.4)[np.newaxis], 16_000)},
        data={"options": '{"engine": "wav2lip", "length_mode": "bounce", "checkpoint": "wav2lip"}'},
        headers={"Accept": RECORDS_MEDIA_TYPE},
        stream=True,
        timeout=TIMEOUT,
    )
    end = list(decode_records(answer.iter_content(chunk_size=None)))[-1].record
    assert isinstance(end, EndRecord), end
    assert end.report.num_frames == 10
    assert [(each.first, each.last) for each in end.report.frames_without_face] == [(3, 5)]
    assert end.report.ignored == ()


def test_run_wav2lip_renders(host: str) -> None:
    files = {"image": saved_frame(portrait()), "audio": wav(babble(0.05)[np.newaxis], 16_000)}
    answer = requests.post(f"{host}/run-wav2lip", files=files, timeout=TIMEOUT)
    assert answer.status_code == 200, answer.text
    assert answer.headers["X-Engine"] == "wav2lip"


def test_a_checkpoint_that_is_not_installed_is_a_problem_of_its_own(host: str) -> None:
    files = {"face": saved_frame(portrait()), "speech": wav(babble(0.1)[np.newaxis], 16_000)}
    options = '{"engine": "wav2lip", "checkpoint": "wav2lip_gan"}'
    answer = requests.post(
        f"{host}/render", files=files, data={"options": options}, timeout=TIMEOUT
    )
    assert (answer.status_code, answer.json()["code"]) == (503, "CHECKPOINT_MISSING")
    assert "wav2lip_gan" in answer.json()["hint"]


def test_a_video_without_wav2lip_is_dubbed_by_the_built_in_engine(tmp_path: Path) -> None:
    files = {"face": filmed([portrait()]), "speech": wav(babble(0.1)[np.newaxis], 16_000)}
    with serving(create_app(Settings(weights_dir=tmp_path))) as bare:
        for engine in ("auto", "facewarp"):
            answer = requests.post(
                f"{bare}/render",
                files=files,
                data={"options": LipSyncOptions(engine=engine).model_dump_json()},
                timeout=TIMEOUT,
            )
            assert answer.status_code == 200, answer.text
            assert answer.headers["X-Engine"] == "facewarp"
        statuses = requests.get(f"{bare}/engines", timeout=TIMEOUT).json()
    wav2lip = next(status for status in statuses if status["info"]["name"] == "wav2lip")
    assert not wav2lip["ready"]
    assert "weights add" in wav2lip["reason"]
    assert wav2lip["info"]["accepts"] == ["photo", "video"]
