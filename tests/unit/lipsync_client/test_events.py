"""Following a job over connections that break."""

from collections.abc import Iterator
from functools import cache

import pytest
from requests import Response

from contracts.errors import JobNotFound, NoFaceFound, NotFound, UpstreamError
from contracts.jobs import JobStage, JobState, JobView
from lipsync_client import BackendUnreachable, LipSync, events
from tests.fakes.backend import job_view
from tests.fakes.scripted_server import answer, chunked, scripted


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "FIRST_PAUSE_SECONDS", 0.01)


@cache
def running(version: int) -> JobView:
    return job_view(JobState.RUNNING, JobStage.RENDERING, id="job", version=version)


@cache
def done(version: int) -> JobView:
    return job_view(JobState.SUCCEEDED, JobStage.DONE, id="job", version=version)


def shown(view: JobView) -> bytes:
    return answer(view.model_dump_json(), Content_Type="application/json")


def told(view: JobView) -> str:
    return f"event: job\nid: {view.version}\ndata: {view.model_dump_json()}\n\n"


def versions(views: Iterator[JobView]) -> list[int]:
    return [view.version for view in views]


def test_events_end_with_the_final_state() -> None:
    whole = chunked(":\n\n", told(running(2)), told(done(3)), whole=True)
    with scripted(shown(running(1)), whole) as server:
        assert versions(LipSync(server.url).events("job")) == [1, 2, 3]
    assert "Last-Event-ID: 1" in server.requests[1]


def test_a_job_that_has_ended_is_asked_for_once() -> None:
    with scripted(shown(done(3))) as server:
        assert versions(LipSync(server.url).events("job")) == [3]


def test_after_a_cut_events_go_on_where_they_were() -> None:
    cut = chunked(told(running(2)), told(running(3)))
    rest = chunked(told(done(4)), whole=True)
    with scripted(shown(running(1)), cut, shown(running(3)), rest) as server:
        assert versions(LipSync(server.url).events("job")) == [1, 2, 3, 4]
    assert "Last-Event-ID: 3" in server.requests[3]


def test_what_happened_during_a_cut_is_told() -> None:
    with scripted(shown(running(1)), chunked(":\n\n"), shown(done(9))) as server:
        assert versions(LipSync(server.url).events("job")) == [1, 9]


def test_an_event_cut_in_half_is_not_taken_for_one() -> None:
    half = told(done(2))[:80]
    with scripted(shown(running(1)), chunked(half), shown(done(2))) as server:
        assert versions(LipSync(server.url).events("job")) == [1, 2]


@pytest.mark.parametrize(
    "instead",
    [
        answer("<html>", "404 Not Found", Content_Type="text/html"),
        answer(NotFound("nothing is there").body().model_dump_json(), "404 Not Found"),
        answer("<html>Welcome</html>", Content_Type="text/html"),
        answer(status="204 No Content"),
        chunked("data: {}\n\n", whole=True),
        chunked("data: \udcff\n\n".encode(errors="surrogateescape").decode("latin-1"), whole=True),
        answer("", length=9),
        b"",
    ],
    ids=["unknown", "refused", "page", "nothing", "no job", "no text", "cut", "hung up"],
)
def test_where_events_do_not_come_the_job_is_polled(instead: bytes) -> None:
    with scripted(shown(running(1)), instead, shown(running(2)), instead, shown(done(3))) as server:
        assert versions(LipSync(server.url).events("job")) == [1, 2, 3]


def test_a_backend_that_never_answered_is_said_at_once() -> None:
    with pytest.raises(BackendUnreachable):
        list(LipSync("http://127.0.0.1:9").events("job"))


def test_a_backend_that_stays_away_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "PATIENCE_SECONDS", 0.05)
    with scripted(shown(running(1))) as server:
        views = LipSync(server.url).events("job")
        assert next(views).version == 1
        with pytest.raises(BackendUnreachable):
            next(views)


def test_a_job_that_is_deleted_meanwhile_is_not_found() -> None:
    gone = answer(
        JobNotFound("there is no job").body().model_dump_json(),
        "404 Not Found",
        Content_Type="application/problem+json",
    )
    with scripted(shown(running(1)), chunked(), gone) as server:
        views = LipSync(server.url).events("job")
        assert next(views).version == 1
        with pytest.raises(JobNotFound):
            next(views)


def test_waiting_longer_than_asked_for_ends_though_the_backend_shows_life() -> None:
    with scripted(shown(running(1)), chunked(":\n\n", ":\n\n")) as server:
        views = LipSync(server.url).events("job", timeout_seconds=0.0)
        assert next(views).version == 1
        with pytest.raises(TimeoutError):
            next(views)


class Clock:
    """Time that passes only where somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Silent:
    """A backend whose job goes on and whose events say nothing."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.asked: list[float] = []

    def job(self, job_id: str) -> JobView:
        return running(1)

    def open_events(self, job_id: str, after_version: int, timeout_seconds: float) -> Response:
        self.asked.append(timeout_seconds)
        self.clock.sleep(timeout_seconds)
        raise UpstreamError("silent")


@pytest.mark.parametrize("limit", [20.0, 200.0])
def test_waiting_gives_up_a_silent_stream_at_its_own_limit(
    monkeypatch: pytest.MonkeyPatch, limit: float
) -> None:
    clock = Clock()
    monkeypatch.setattr(events, "time", clock)
    silent = Silent(clock)
    with pytest.raises(TimeoutError):
        list(events.follow(silent, "job", limit))
    assert silent.asked[0] == min(limit, events.SILENCE_SECONDS)
    assert limit <= clock.now - 1000 < limit + 1


def test_a_backend_that_answers_is_asked_ever_more_rarely(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(events, "time", clock)
    monkeypatch.setattr(events, "SILENCE_SECONDS", 0.0)
    silent = Silent(clock)
    with pytest.raises(TimeoutError):
        list(events.follow(silent, "job", 600.0))
    assert len(silent.asked) < 600 / events.LONGEST_PAUSE_SECONDS + 20


def test_waiting_raises_why_the_job_ended_without_a_video() -> None:
    failed = job_view(JobState.FAILED, JobStage.DONE, error=NoFaceFound("no face").body())
    with scripted(shown(failed)) as server, pytest.raises(NoFaceFound, match="no face"):
        LipSync(server.url).wait("job")
