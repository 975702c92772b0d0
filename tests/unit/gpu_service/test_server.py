"""A host that is asked to stop while it renders."""

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from contracts.records import RECORDS_MEDIA_TYPE, EndRecord, ErrorRecord, Framed
from tests.fakes.running_host import RunningHost
from tests.host_calls import TIMEOUT, health, post, problem, records_of
from tests.media import tone, wav
from tests.processes import wait_until

SPEECH = wav(tone(4.0, 16_000), 16_000)  # the engine waits after two seconds of it
FOR_EVER = 1e6


class Running(RunningHost):
    """A host that renders when it is asked to stop, and those who ask for renders."""

    def __init__(self, folder: Path, drain_seconds: float) -> None:
        super().__init__(folder, drain_seconds)
        self.engine.gate.clear()
        self._callers = ThreadPoolExecutor()

    def render(self) -> Future[list[Framed]]:
        """Begin one, of which all records come."""

        def follow() -> list[Framed]:
            return records_of(post(self.url, "held", speech=SPEECH, accept=RECORDS_MEDIA_TYPE))

        return self._callers.submit(follow)

    def close(self) -> None:
        super().close()
        self._callers.shutdown()


@pytest.fixture
def running(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Running]:
    each = Running(tmp_path, getattr(request, "param", FOR_EVER))
    yield each
    each.close()


def last(records: Future[list[Framed]]) -> object:
    return records.result(TIMEOUT)[-1].record


def render_threads() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name.startswith("render")]


def test_a_host_that_renders_nothing_stops_at_once(running: Running) -> None:
    running.ask_to_stop()
    assert running.ended()
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
    assert running.ended()


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
    assert running.ended()


def test_asked_a_second_time_it_waits_for_nothing(running: Running) -> None:
    render = running.render()
    assert running.engine.reached.wait(TIMEOUT)
    running.ask_to_stop()
    wait_until(lambda: health(running.url)["draining"])
    running.ask_to_stop()
    assert running.ended()
    assert running.server.forced
    running.engine.gate.set()
    assert render.exception(TIMEOUT)


def test_what_ends_it_from_within_while_it_drains_does_not_force_it(running: Running) -> None:
    render = running.render()
    assert running.engine.reached.wait(TIMEOUT)
    running.ask_to_stop()
    wait_until(lambda: health(running.url)["draining"])
    running.server.ask_to_end()
    running.engine.gate.set()
    assert isinstance(last(render), EndRecord)
    assert running.ended()
    assert not running.server.forced


@pytest.mark.parametrize("running", [0.0], indirect=True)
def test_asked_a_second_time_it_does_not_wait_for_an_engine_that_hangs(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gpu_service.server.SEND_SECONDS", 0)
    others = set(threading.enumerate())
    render = running.render()
    assert running.engine.reached.wait(TIMEOUT)
    running.ask_to_stop()
    assert render.exception(TIMEOUT)
    (still_renders,) = (each for each in render_threads() if each not in others)
    running.ask_to_stop()
    assert running.ended()
    assert still_renders.is_alive()
    assert running.server.forced
