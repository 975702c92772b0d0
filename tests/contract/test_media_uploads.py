"""The backend's client sends large files ahead to a real GPU host, through a bad tunnel."""

import itertools
from typing import NamedTuple

import pytest

from backend.gpu.client import GpuClient
from backend.gpu.rendering import LOST, RenderOrder
from backend.staging.fragments import Fragments
from backend.staging.packing import pack_speech
from backend.staging.store import JobMedia
from contracts.errors import MediaTooLarge
from contracts.lipsync import LipSyncOptions
from contracts.media import MIN_RESUMABLE_BYTES
from contracts.records import EndRecord, EventRecord, Framed
from gpu_service.app import create_app
from gpu_service.settings import Settings
from tests.fakes.pausing import Pausing
from tests.fakes.serving import serving
from tests.fakes.tunnel import tunnel_to
from tests.host_calls import FAKES, PORTRAIT, SPEECH
from tests.media import babble, large_portrait, tone, wav

LIMIT = 4_000_000


class Made(NamedTuple):
    """A render that has ended."""

    video: bytes
    records: list[Framed]
    render_id: str


class Studio:
    """One client, and a folder for each of its jobs."""

    def __init__(self, folder, url, *, far=True):
        self._folder = folder
        self.client = GpuClient(url, "", 20.0, pause_seconds=0.01, far=far)
        self._numbers = itertools.count(1)

    def render(self, face=PORTRAIT, speech=SPEECH, key=""):
        """Make it, whatever is in the way."""
        media = JobMedia(self._folder / f"job{next(self._numbers)}")
        media.folder.mkdir(parents=True)
        media.face.write_bytes(face)
        media.speech.write_bytes(speech)
        order = RenderOrder(
            key or media.folder.name,
            media.face,
            media.speech,
            LipSyncOptions(engine="counting", max_height=384),
        )
        with Fragments(media) as fragments:
            records = list(self.client.render(order, fragments, Pausing(), pytest.fail))
            assert isinstance(records[-1].record, EndRecord)
            return Made(fragments.path.read_bytes(), records, fragments.render_id)


@pytest.fixture(scope="module")
def big_face():
    return large_portrait(2_500_000)


@pytest.fixture
def app(tmp_path):
    settings = Settings(
        _env_file=None,
        engine_order="counting",
        max_upload_bytes=LIMIT,
        face_cache_bytes=0,
        data_dir=tmp_path / "host",
    )
    return create_app(settings, FAKES)


@pytest.fixture
def host(app):
    with serving(app) as url:
        yield url


@pytest.fixture
def tunnel(host):
    with tunnel_to(host) as tunnel:
        yield tunnel


@pytest.fixture
def studio(tmp_path, tunnel):
    return Studio(tmp_path, tunnel.url)


def num_lost(made):
    events = [each.record for each in made.records if isinstance(each.record, EventRecord)]
    return sum(event.name == LOST for event in events)


def test_an_upload_that_is_cut_thrice_arrives_and_is_rendered_once(studio, tunnel, big_face):
    tunnel.cut_after = [700_000, 600_000, 500_000]
    studio.client.health()
    made = studio.render(big_face)
    assert num_lost(made) >= 2
    puts = [request for request in tunnel.requests if request.startswith("PUT")]
    assert len(puts) >= 3
    sent = sum(each.sent for each in tunnel.traffic.values())
    assert sent < len(big_face) + 1_500_000
    assert made.video == studio.render(big_face).video


def test_one_request_a_job_and_two_more_for_each_new_large_file(studio, tunnel, big_face):
    studio.client.health()
    tunnel.requests.clear()
    speech = wav(tone(MIN_RESUMABLE_BYTES / 32_000, 16_000), 16_000)
    for face, said in ((PORTRAIT, SPEECH), (big_face, speech), (big_face, SPEECH)):
        studio.render(face, said)
    methods = [request.split("/")[0].strip() for request in tunnel.requests]
    assert methods == ["POST", "GET", "PUT", "GET", "PUT", "POST", "POST"]


def test_whether_files_are_named_or_enclosed_it_is_the_same_render(
    studio, host, tmp_path, big_face
):
    named = studio.render(big_face, key="one")
    near = Studio(tmp_path / "near", host, far=False)
    assert near.render(big_face, key="one").render_id == named.render_id


def test_small_files_that_go_ahead_after_a_break_are_the_same_render(studio, tunnel):
    undisturbed = studio.render()
    tunnel.cut_after = [20_000]
    made = studio.render()
    assert num_lost(made) == 1
    assert any(request.startswith("PUT") for request in tunnel.requests)
    assert made.video == undisturbed.video


def test_a_host_that_has_lost_its_files_is_sent_them_again(studio, app, tunnel, big_face):
    studio.render(big_face)
    app.state.uploads.close()
    studio.render(big_face)
    assert sum(request.startswith("PUT") for request in tunnel.requests) == 2


def test_packed_speech_is_the_same_video(studio, tmp_path):
    speech = wav(babble(2.0)[None], 16_000)
    plain, packed = tmp_path / "plain", tmp_path / "packed"
    plain.write_bytes(speech)
    assert pack_speech(plain, packed, lambda: None) == packed
    assert studio.render(speech=speech).video == studio.render(speech=packed.read_bytes()).video


def test_a_file_over_the_hosts_limit_is_refused_as_such_and_not_sent_again(studio, tunnel):
    with pytest.raises(MediaTooLarge):
        studio.render(bytes(LIMIT + 1))
    assert [request.split("/")[0].strip() for request in tunnel.requests].count("PUT") == 1
    assert not any(request.startswith("POST") for request in tunnel.requests)
