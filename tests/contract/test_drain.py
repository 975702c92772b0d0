"""A GPU host that is stopped while it renders for a backend: both real, over sockets."""

from pathlib import Path

import requests

from lipsync_client import LipSync
from tests.fakes.running_backend import running_backend
from tests.fakes.running_host import RunningHost
from tests.host_calls import PORTRAIT, TIMEOUT, health
from tests.media import tone, wav
from tests.processes import wait_until

SPEECH = wav(tone(4.0, 16_000), 16_000)
PATIENCE_SECONDS = 60


def submit(url: str) -> str:
    answer = requests.post(
        f"{url}/generate-from-audio",
        files={"image": PORTRAIT, "audio": SPEECH},
        data={"max_height": "384"},
        headers={"Prefer": "respond-async"},
        timeout=TIMEOUT,
    )
    job_id: str = answer.json()["id"]
    return job_id


def test_a_job_whose_host_hands_it_back_is_made_elsewhere_and_no_attempt_is_counted(
    tmp_path: Path,
) -> None:
    first = RunningHost(tmp_path / "first", drain_seconds=0)
    first.engine.gate.clear()
    second = RunningHost(tmp_path / "second", drain_seconds=0)
    try:
        with running_backend(tmp_path, first.url) as url:
            job_id = submit(url)
            assert first.engine.reached.wait(TIMEOUT)
            LipSync(url).add_gpu_host(second.url.replace("http://", "lipsync://"), name="the other")
            first.ask_to_stop()
            wait_until(lambda: first.server.should_exit)
            first.engine.gate.set()
            view = LipSync(url).wait(job_id, PATIENCE_SECONDS)
            assert (view.gpu_host, view.attempts) == ("the other", ())
            assert second.engine.num_renders == 1
    finally:
        first.close()
        second.close()


def test_a_job_ends_on_the_host_that_drains(tmp_path: Path) -> None:
    host = RunningHost(tmp_path / "host", drain_seconds=PATIENCE_SECONDS)
    host.engine.gate.clear()
    try:
        with running_backend(tmp_path, host.url) as url:
            job_id = submit(url)
            assert host.engine.reached.wait(TIMEOUT)
            host.ask_to_stop()
            wait_until(lambda: health(host.url)["draining"])
            host.engine.gate.set()
            view = LipSync(url).wait(job_id, PATIENCE_SECONDS)
            assert (view.attempts, host.engine.num_renders) == ((), 1)
            assert host.ended()
    finally:
        host.close()
