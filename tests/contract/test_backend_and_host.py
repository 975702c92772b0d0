"""The backend and the GPU host, both real and over sockets, on every database."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial

import pytest
import requests

from contracts.jobs import JobState
from gpu_service.app import create_app
from gpu_service.settings import Settings
from lipsync_client import LipSync
from tests.fakes.gated_engine import HeldEngine
from tests.fakes.running_backend import running_backend
from tests.fakes.serving import serving
from tests.host_calls import FAKES, PORTRAIT, health, num_pictures, problem
from tests.media import tone, wav
from tests.processes import wait_until

SPEECH = wav(tone(4.0, 16_000), 16_000)
NUM_FRAMES = 100
PATIENCE_SECONDS = 60


@pytest.fixture
def host():
    with serving(create_app(Settings(_env_file=None, engine_order="held"), FAKES)) as url:
        yield url


@pytest.fixture
def start(tmp_path, database_url):
    """Starts backends that share a database and their media."""
    with ExitStack() as running:

        def start(gpu_url):
            backend = running_backend(
                tmp_path, gpu_url, database_url=database_url, lease_seconds=3.0
            )
            return running.enter_context(backend)

        yield start


def send(url, path="/generate-from-audio", **headers):
    form = {"image": PORTRAIT, "audio": SPEECH}
    data = {"max_height": "384"}
    return requests.post(
        url + path, files=form, data=data, headers=headers, timeout=PATIENCE_SECONDS
    )


def submit(url):
    return send(url, Prefer="respond-async").json()["id"]


def begin(url):
    """A job of which some video has come."""
    job_id = submit(url)
    client = LipSync(url)
    next(view for view in client.events(job_id, PATIENCE_SECONDS) if view.media_seconds)
    return job_id


def is_idle(host):
    told = health(host)
    return told["renders_running"] + told["renders_waiting"] == 0


def test_ten_identical_requests_at_once_are_one_job_and_one_render(host, start):
    urls = [start(host), start(host)]
    ask = partial(send, **{"Idempotency-Key": "the.same"})
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(ask, urls * 5))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.headers["X-Job-Id"] for answer in answers}) == 1
    assert len({answer.content for answer in answers}) == 1
    assert num_pictures(answers[0].content) == NUM_FRAMES
    assert HeldEngine.latest.num_renders == 1
    assert len(LipSync(urls[0]).jobs().jobs) == 1


def test_ten_of_ten_jobs_that_are_cancelled_while_they_run_leave_the_host_idle(host, held, start):
    url = start(host)
    client = LipSync(url)
    for number in range(10):
        job_id = begin(url)
        assert client.cancel(job_id).state is JobState.CANCELLED
        # A render that went on to its end would be kept.
        wait_until(lambda job_id=job_id: unknown(host, job_id))
        held.gate.set()
        wait_until(lambda: is_idle(host))
        held.gate.clear()
        assert client.job(job_id).state is JobState.CANCELLED
        assert held.num_renders == number + 1


def unknown(host, job_id):
    answer = requests.get(f"{host}/render/{job_id}?from=0", stream=True, timeout=PATIENCE_SECONDS)
    with answer:
        return answer.status_code == 404


def test_a_job_that_another_backend_cancels_stops_on_the_host(host, held, start):
    url, other = start(host), start("")
    job_id = begin(url)
    assert LipSync(other).cancel(job_id).state is JobState.CANCELLED
    wait_until(lambda: unknown(host, job_id))


def test_a_stopped_backend_goes_on_where_it_was(host, held, tmp_path, database_url):
    settings = {"database_url": database_url, "lease_seconds": 3.0}
    with running_backend(tmp_path, host, **settings) as url:
        job_id = begin(url)
    held.gate.set()
    with running_backend(tmp_path, host, **settings) as url:
        view = LipSync(url).wait(job_id, PATIENCE_SECONDS)
        video = requests.get(f"{url}/jobs/{job_id}/video", timeout=PATIENCE_SECONDS)
    assert (view.attempts, view.stream, held.num_renders) == ((), 1, 1)
    assert num_pictures(video.content) == NUM_FRAMES


def test_what_postgresql_can_not_keep_is_left_out_or_refused(host, start):
    url = start(host)
    spoken = requests.post(
        url + "/generate-from-text",
        files={"image": PORTRAIT},
        data={"text": "Hel\0lo.", "max_height": "384"},
        timeout=PATIENCE_SECONDS,
    )
    assert num_pictures(spoken.content)
    language = requests.post(
        url + "/generate-from-text",
        files={"image": PORTRAIT},
        data={"text": "Hello.", "language": "en-\0"},
        timeout=PATIENCE_SECONDS,
    )
    problem(language, 404, "VOICE_NOT_FOUND")
    gone = requests.delete(f"{url}/gpu-hosts/%00", timeout=PATIENCE_SECONDS)
    problem(gone, 404, "GPU_HOST_NOT_FOUND")
    named = requests.post(
        f"{url}/gpu-hosts",
        json={"url": "https://host.example", "name": "a\0b"},
        timeout=PATIENCE_SECONDS,
    )
    assert problem(named, 422, "INVALID_INPUT")["field"] == "name"
