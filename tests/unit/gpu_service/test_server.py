"""A host that is asked to stop while it renders."""

import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
import requests
import uvicorn

from contracts.records import RECORDS_MEDIA_TYPE, EndRecord, ErrorRecord, Framed
from gpu_service.app import create_app
from gpu_service.server import SEND_SECONDS, Server
from gpu_service.settings import Settings
from tests.fakes.gated_engine import HeldEngine
from tests.host_calls import FAKES, TIMEOUT, health, post, problem, records_of
from tests.media import tone, wav
from tests.processes import wait_until

SPEECH = wav(tone(4.0, 16_000), 16_000)  # the engine waits after two seconds of it
FOR_EVER = 1e6


class Running:
    """A server in a thread, and renders that are asked of it."""

    def __init__(self, folder: Path, drain_seconds: float) -> None:
        app = create_app(Settings(data_dir=folder, max_queue=1), FAKES)
        listening: Future[str] = Future()
        config = uvicorn.Config(
            app, host="127.0.0.1", port=0, log_config=None, timeout_graceful_shutdown=SEND_SECONDS
        )
        self.server = Server(config, app.state.renders, drain_seconds, listening.set_result)
        self.thread = threading.Thread(target=self.server.run)
        self.thread.start()
        self.url = listening.result(TIMEOUT)
        self.engine = HeldEngine.latest
        self.engine.gate.clear()
        self._callers = ThreadPoolExecutor()

    def render(self) -> Future[list[Framed]]:
        """Begin one, of which all records come."""

        def follow() -> list[Framed]:
            return records_of(post(self.url, "held", speech=SPEECH, accept=RECORDS_MEDIA_TYPE))

        return self._callers.submit(follow)

    def ask_to_stop(self) -> None:
        self.server.handle_exit(signal.SIGTERM, None)

    def close(self) -> None:
        self.engine.gate.set()
        for _ in range(2):
            self.ask_to_stop()
        self.thread.join()
        self._callers.shutdown()


@pytest.fixture
def running(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Running]:
    each = Running(tmp_path, getattr(request, "param", FOR_EVER))
    yield each
    each.close()


def last(records: Future[list[Framed]]) -> object:
    return records.result(TIMEOUT)[-1].record


def test_a_host_that_renders_nothing_stops_at_once(running: Running) -> None:
    running.ask_to_stop()
    running.thread.join(TIMEOUT)
    assert not running.thread.is_alive()
    assert not running.server.forced


def test_the_running_render_ends_the_waiting_one_is_handed_back_and_new_ones_are_refused(
    running: Running,
) -> None:
    first = running.render()
    assert running.engine.reached.wait(TIMEOUT)
    second = running.render()
    wait_until(lambda: health(running.url)["renders_waiting"] == 1)
    assert not health(running.url)["draining"]
    running.ask_to_stop()
    handed_back = last(second)
    assert isinstance(handed_back, ErrorRecord)
    assert (handed_back.error.code, handed_back.error.retryable) == ("BUSY", True)
    assert health(running.url)["draining"]
    refused = post(running.url, "held")
    assert problem(refused, 503, "BUSY")["retryable"]
    assert int(refused.headers["Retry-After"]) > 0
    put = {"Content-Range": "bytes 0-0/1"}
    address = f"{running.url}/media/{'0' * 64}"
    problem(requests.put(address, data=b"x", headers=put, timeout=TIMEOUT), 503, "BUSY")
    assert not first.done()
    running.engine.gate.set()
    assert isinstance(last(first), EndRecord)
    running.thread.join(TIMEOUT)
    assert not running.thread.is_alive()


@pytest.mark.parametrize("running", [0.0], indirect=True)
def test_a_render_that_takes_too_long_is_handed_back(running: Running) -> None:
    render = running.render()
    assert running.engine.reached.wait(TIMEOUT)
    running.ask_to_stop()
    wait_until(lambda: running.server.should_exit)
    running.engine.gate.set()
    handed_back = last(render)
    assert isinstance(handed_back, ErrorRecord)
    assert (handed_back.error.code, handed_back.error.retryable) == ("BUSY", True)
    running.thread.join(TIMEOUT)
    assert not running.thread.is_alive()


def test_asked_a_second_time_it_waits_for_nothing(running: Running) -> None:
    render = running.render()
    assert running.engine.reached.wait(TIMEOUT)
    running.ask_to_stop()
    wait_until(lambda: health(running.url)["draining"])
    running.ask_to_stop()
    running.thread.join(TIMEOUT)
    assert not running.thread.is_alive()
    assert running.server.forced
    running.engine.gate.set()
    assert render.exception(TIMEOUT)
