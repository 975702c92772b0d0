"""Wav2Lip on the whole road: installed by the command, asked for by the form, seen in the video."""

import io
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import av
import numpy as np
import pytest
import requests
from numpy.typing import NDArray

from contracts.jobs import JobView
from contracts.lipsync import LipSyncOptions
from tests.media import babble, filmed, portrait, saved_frame, wav
from tests.parity_weights import seeded_checkpoint
from tests.processes import wait_until
from tests.services import three_services
from tools.environment import ROOT

pytestmark = pytest.mark.slow

SECONDS, FPS = 0.6, 25
NUM_FRAMES = 15
SPEECH = wav(babble(SECONDS)[np.newaxis], 16_000)
TIMEOUT = 120
ABOVE_THE_FACE, MOUTH = np.s_[:70, :], np.s_[135:165, 200:245]
"""Rows and columns of the portrait."""


class Studio(NamedTuple):
    """The three services, and the folder of the GPU host's weights."""

    url: str
    weights: Path

    def words(self, page: str) -> str:
        """What a page says, tags left out: `workplace` is what an open one is told of engines."""
        page = requests.get(f"{self.url}/{page}", timeout=TIMEOUT).text
        return " ".join(re.sub("<[^>]*>", " ", page).split())

    def make(self, face: bytes, **options: str) -> "Made":
        """Send the form as a browser without a script does, and wait for its video."""
        with requests.Session() as visit:
            page = visit.get(f"{self.url}/?voice=upload", timeout=TIMEOUT).text
            form = page[page.index('id="make-audio"') :]
            token = re.search(r'name="csrf_token" value="([^"]+)"', form)
            assert token
            fields: dict[str, Any] = {
                "csrf_token": (None, token[1]),
                "image": ("face", face),
                "audio": ("speech.wav", SPEECH),
                "consent": (None, "yes"),
                **{name: (None, value) for name, value in options.items()},
            }
            sent = visit.post(f"{self.url}/make/audio", files=fields, timeout=TIMEOUT)
            assert sent.history[0].status_code == 303, sent.text
            while not (job := self._job(visit, sent.url)).state.final:
                pass  # each look waits for an answer
            assert job.error is None, job.error
            result = visit.get(sent.url, timeout=TIMEOUT).text
            video = visit.get(f"{sent.url}/video", timeout=TIMEOUT)
        return Made(job, " ".join(re.sub("<[^>]*>", " ", result).split()), video)

    def _job(self, visit: requests.Session, page: str) -> JobView:
        return JobView.model_validate_json(visit.get(f"{page}.json", timeout=TIMEOUT).content)


class Made(NamedTuple):
    """A finished job, its page in words, and its video's answer."""

    job: JobView
    page: str
    video: requests.Response

    def frames(self) -> NDArray[np.uint8]:
        with av.open(io.BytesIO(self.video.content)) as container:
            frames = [frame.to_ndarray(format="bgr24") for frame in container.decode(video=0)]
        return np.stack(frames)

    def sound(self) -> NDArray[np.float32]:
        with av.open(io.BytesIO(self.video.content)) as container:
            frames = [frame.to_ndarray() for frame in container.decode(audio=0)]
            assert container.streams.audio[0].rate == 48_000
        return np.concatenate(frames, axis=1).mean(axis=0)


def weights(studio_weights: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "gpu_service", "weights", *arguments]
    environment = os.environ | {"GPU_WEIGHTS_DIR": str(studio_weights)}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def studio(torch: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    """The services, which were started before the checkpoint was installed."""
    folder = tmp_path_factory.mktemp("studio")
    installed = folder / "weights"
    settings = {"GPU_WEIGHTS_DIR": str(installed), "GPU_DEVICE": "cpu"}
    with three_services(folder, settings) as stack:
        studio = Studio(stack.url, installed)
        assert "wav2lip is not ready: the checkpoint wav2lip_gan is not" in studio.words(
            "workplace"
        )
        checkpoint = seeded_checkpoint(folder / "wav2lip_gan.pth")
        said = weights(installed, "add", str(checkpoint), "--accept-licence")
        assert said.startswith("installed wav2lip_gan-")
        yield studio


def assert_whole(made: Made, options: LipSyncOptions) -> None:
    """It was made by wav2lip, and is as long as its sound, which is the speech."""
    report = made.job.report
    assert report
    assert (made.job.engine, report.engine) == ("wav2lip", "wav2lip")
    assert made.job.options == options
    assert (report.ignored, report.frames_without_face) == ((), ())
    assert made.video.headers["X-Engine"] == "wav2lip"
    assert "by wav2lip" in made.page
    assert len(made.frames()) == NUM_FRAMES
    with av.open(io.BytesIO(made.video.content)) as container:
        stream = container.streams.video[0]
        assert stream.average_rate == FPS
        assert stream.duration * stream.time_base == pytest.approx(SECONDS, abs=0.001)
        assert "wav2lip" in container.metadata["comment"]
    sound = made.sound()
    # AAC comes in blocks of 1,024 samples.
    assert len(sound) == pytest.approx(SECONDS * 48_000, abs=1_024)
    said = babble(SECONDS)
    heard = sound[: len(said) * 3 : 3]
    assert np.corrcoef(heard, said[: len(heard)])[0, 1] > 0.9


def assert_only_the_mouth_moved(frames: NDArray[np.uint8], source: NDArray[np.uint8]) -> None:
    off = np.abs(frames.astype(int) - source)
    sides = np.concatenate([off[:, :, :60].ravel(), off[:, :, -60:].ravel()])
    for name, elsewhere in {"above": off[:, *ABOVE_THE_FACE].ravel(), "beside": sides}.items():
        assert elsewhere.mean() < 3, name
        assert np.percentile(elsewhere, 99) < 16, name
    assert off[:, *MOUTH].mean() > 15
    change = np.abs(np.diff(frames.astype(int), axis=0))
    assert change[:, *MOUTH].mean() > 5 * change[:, *ABOVE_THE_FACE].mean()


def test_a_photo_speaks(studio: Studio) -> None:
    made = studio.make(saved_frame(portrait()), engine="auto")
    assert_whole(made, LipSyncOptions())
    assert_only_the_mouth_moved(made.frames(), portrait())
    # The backend believes for some seconds what a host has said.
    wait_until(lambda: re.search(r"wav2lip · [\d.]+ × real time", studio.words("workplace")))
    assert re.search(r"wav2lip · CPU · .* × real time", studio.words("hosts"))


def test_a_video_speaks_with_the_options_of_the_form(studio: Studio) -> None:
    film = filmed([portrait()] * 7)
    made = studio.make(
        film, engine="auto", length_mode="bounce", pads="0,20,0,0", checkpoint="wav2lip_gan"
    )
    assert_whole(
        made,
        LipSyncOptions(length_mode="bounce", pads="0,20,0,0", checkpoint="wav2lip_gan"),
    )
    assert_only_the_mouth_moved(made.frames(), portrait())


def test_a_checkpoint_that_is_removed_leaves_the_photo_to_the_next_engine(studio: Studio) -> None:
    wait_until(lambda: "Engine: wav2lip." in studio.words("workplace"))
    record = studio.weights / "wav2lip_gan.json"
    away = record.rename(record.with_suffix(".away"))
    try:
        passed_over = "facewarp (built in). wav2lip is not ready"
        wait_until(lambda: passed_over in studio.words("workplace"))
        assert studio.make(saved_frame(portrait())).job.engine == "facewarp"
    finally:
        away.rename(record)
    assert studio.make(saved_frame(portrait())).job.engine == "wav2lip"
