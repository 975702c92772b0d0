"""Answers that stay open pass through as they come, and are let go of when nobody reads them."""

import http.client
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from flask.testing import FlaskClient

from contracts.jobs import JobStage, JobState
from tests.fakes.backend import STREAM_TYPE, FakeBackend, job_view
from tests.fakes.growing import Drip
from tests.fakes.running_pages import running_pages

THREADS = 4
PATIENCE_SECONDS = 60


@pytest.fixture
def address(fake: FakeBackend, tmp_path: Path) -> Iterator[str]:
    with running_pages(tmp_path, fake.url, threads=THREADS) as url:
        yield urlsplit(url).netloc


@pytest.fixture
def drip(fake: FakeBackend) -> Drip:
    fake.jobs["job"] = job_view(JobState.RUNNING, JobStage.RENDERING, id="job", stream=7)
    fake.streams["job"] = drip = Drip(b"first")
    return drip


Ask = Callable[..., http.client.HTTPResponse]


@pytest.fixture
def ask(address: str) -> Iterator[Ask]:
    """Begins a request, each on a connection of its own."""
    with ExitStack() as stack:

        def begin(path: str, **headers: str) -> http.client.HTTPResponse:
            connection = http.client.HTTPConnection(address, timeout=PATIENCE_SECONDS)
            stack.callback(connection.close)
            connection.request("GET", path, headers=headers)
            return stack.enter_context(connection.getresponse())

        yield begin


def next_event(answer: http.client.HTTPResponse) -> dict[str, str]:
    fields = {}
    while line := answer.readline().decode().rstrip("\n"):
        name, _, value = line.partition(":")
        fields[name] = value.strip()
    return fields


def test_a_stream_passes_while_it_grows(ask: Ask, drip: Drip) -> None:
    answer = ask("/jobs/job/stream")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == STREAM_TYPE
    assert answer.headers["X-Stream"] == "7"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.read1() == b"first"
    drip.feed(b"second")
    assert answer.read1() == b"second"
    drip.end()
    assert answer.read() == b""


def test_a_stream_that_breaks_off_has_no_clean_end(ask: Ask, drip: Drip) -> None:
    answer = ask("/jobs/job/stream")
    assert answer.read1() == b"first"
    drip.break_off()
    with pytest.raises(http.client.IncompleteRead):
        answer.read()


def test_events_pass_as_they_are_told(ask: Ask, drip: Drip, fake: FakeBackend) -> None:
    answer = ask("/jobs/job/events")
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    assert answer.headers["X-Accel-Buffering"] == "no"
    assert next_event(answer) == {"": "here"}
    told = next_event(answer)
    assert (told["event"], told["id"]) == ("job", "0")
    fake.jobs.change("job", state=JobState.SUCCEEDED)
    told = next_event(answer)
    assert (told["id"], json.loads(told["data"])["state"]) == ("1", "succeeded")
    assert answer.read() == b""


def test_events_are_taken_up_after_the_last_one_seen(
    ask: Ask, drip: Drip, fake: FakeBackend
) -> None:
    fake.jobs.change("job", state=JobState.SUCCEEDED)
    assert ask("/jobs/job/events", **{"Last-Event-ID": "1"}).status == 204
    assert ask("/jobs/job/events", **{"Last-Event-ID": "0"}).status == 200


def test_browsers_that_left_hold_no_threads(ask: Ask, drip: Drip, fake: FakeBackend) -> None:
    for _ in range(3):
        # The backend says nothing more, so nothing but the closed connection tells of it.
        answers = [ask("/jobs/job/stream") for _ in range(THREADS)]
        for answer in answers:
            assert answer.read1() == b"first"
            answer.close()
    assert ask("/health").status == 200


def test_what_the_backend_refuses_is_said(client: FlaskClient, fake: FakeBackend) -> None:
    fake.jobs["job"] = job_view(JobState.RUNNING, JobStage.SPEAKING, id="job")
    for path in ("/jobs/job/stream", "/jobs/job/poster"):
        answer = client.get(path, headers={"Accept": "video/mp4, application/json"})
        assert answer.status_code == 409
        assert answer.json["code"] == "VIDEO_NOT_READY"
    assert client.get("/jobs/none/events").status_code == 404
