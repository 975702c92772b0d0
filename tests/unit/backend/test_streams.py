import asyncio
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest
import requests

from backend.jobs.job import Job
from backend.routes import streams
from contracts.errors import RenderFailed
from contracts.jobs import JobStage, JobState, JobView
from contracts.records import MediaRecord
from tests.fakes.tiny_video import tiny_fragments
from tests.fakes.watched_backend import PATIENCE_SECONDS, watched_backend

EVENTS = 'lipsync_listeners{what="events"}'
STREAMS = 'lipsync_listeners{what="stream"}'


@pytest.fixture(scope="module")
def backend(tmp_path_factory):
    with watched_backend(tmp_path_factory.mktemp("backend")) as backend:
        yield backend


def get(backend, path, **headers):
    return requests.get(backend.url + path, stream=True, headers=headers, timeout=PATIENCE_SECONDS)


class Events:
    """One connection that is told of a job."""

    def __init__(self, backend, job_id, last_id=None):
        headers = {} if last_id is None else {"Last-Event-ID": str(last_id)}
        self.answer = get(backend, f"/jobs/{job_id}/events", **headers)
        self._lines = self.answer.iter_lines(chunk_size=1)

    def next(self):
        """The fields of the next event, a comment as the field ''; None at the end."""
        fields = {}
        for line in self._lines:
            if not line:
                return fields
            name, _, value = line.decode().partition(": ")
            fields[name] = value
        return None

    def view(self):
        event = self.next()
        assert event is not None
        assert event["event"] == "job"
        job = JobView.model_validate_json(event["data"])
        assert event["id"] == str(job.version)
        return job


def code_of(answer):
    assert answer.headers["Content-Type"] == "application/problem+json"
    return answer.status_code, answer.json()["code"]


def test_events_tell_of_a_job_at_once_and_after_each_change_until_it_has_ended(backend):
    job_id = backend.job()
    events = Events(backend, job_id)
    assert events.answer.headers["Content-Type"].startswith("text/event-stream")
    assert events.answer.headers["Cache-Control"] == "no-store"
    assert events.answer.headers["X-Accel-Buffering"] == "no"
    first = events.view()
    assert (first.state, first.stage) == (JobState.RUNNING, JobStage.WAITING)
    backend.services.jobs.update(job_id, lambda job: job.reach(JobStage.SPEAKING))
    assert events.view().stage is JobStage.SPEAKING
    backend.services.jobs.update(job_id, Job.cancel)
    last = events.view()
    assert last.state is JobState.CANCELLED
    assert events.next() is None
    again = get(backend, f"/jobs/{job_id}/events", **{"Last-Event-ID": str(last.version)})
    assert (again.status_code, again.content) == (204, b"")


def test_what_is_known_already_is_not_told_again(backend):
    job_id = backend.job()
    known = Events(backend, job_id).view()
    events = Events(backend, job_id, known.version)
    backend.services.jobs.update(job_id, lambda job: job.reach(JobStage.RENDERING))
    assert events.view().version == known.version + 1


@pytest.mark.parametrize("last_id", ["", "x", "-1", "1.5", "9" * 40, "\u00b2"])
def test_an_id_that_is_none_of_ours_is_as_good_as_none(backend, last_id):
    job_id = backend.job(JobState.CANCELLED)
    events = Events(backend, job_id, last_id.encode("latin-1"))
    assert events.view().state is JobState.CANCELLED
    assert events.next() is None


def test_an_ended_job_tells_who_missed_its_end(backend):
    job_id = backend.job(JobState.FAILED)
    events = Events(backend, job_id, 0)
    assert events.view().state is JobState.FAILED
    assert events.next() is None


def test_events_of_nobody_are_a_problem_and_not_a_stream(backend):
    for path in ("/jobs/nobody/events", "/jobs/nobody/stream"):
        assert code_of(get(backend, path)) == (404, "JOB_NOT_FOUND")


def test_events_end_when_the_job_is_deleted(backend):
    job_id = backend.job()
    events = Events(backend, job_id)
    events.view()
    assert requests.delete(f"{backend.url}/jobs/{job_id}").status_code == 204
    told = list(iter(events.next, None))
    assert {JobView.model_validate_json(event["data"]).state for event in told} <= {"cancelled"}


def test_a_quiet_job_gives_signs_of_life(backend, monkeypatch):
    monkeypatch.setattr(streams, "HEARTBEAT_SECONDS", 0.01)
    job_id = backend.job()
    events = Events(backend, job_id)
    events.view()
    for _ in range(3):
        assert events.next() == {"": "ping"}
    backend.services.jobs.update(job_id, lambda job: job.reach(JobStage.FINISHING))
    while (event := events.next()) == {"": "ping"}:
        pass
    assert JobView.model_validate_json(event["data"]).stage is JobStage.FINISHING


def connection(backend, path):
    """A raw one that has sent its request and got the first bytes of the answer."""
    address = urlsplit(backend.url)
    link = socket.create_connection((address.hostname, address.port), PATIENCE_SECONDS)
    link.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    assert link.recv(9) == b"HTTP/1.1 "
    return link


def test_who_hangs_up_is_forgotten_at_once(backend):
    job_id = backend.job()
    with backend.fragments(job_id) as stream:
        stream.begin(b"init", b"one")
    links = [connection(backend, f"/jobs/{job_id}/{what}") for what in ["events", "stream"] * 10]
    backend.wait_for_figure(EVENTS, 10)
    backend.wait_for_figure(STREAMS, 10)
    for link in links:
        link.close()
    backend.wait_for_figure(EVENTS, 0)
    backend.wait_for_figure(STREAMS, 0)
    assert not backend.services.changes._bells


def test_listeners_need_no_threads_of_their_own(backend):
    job_id = backend.job()
    before = threading.active_count()
    links = [connection(backend, f"/jobs/{job_id}/events") for _ in range(100)]
    backend.wait_for_figure(EVENTS, 100)
    # Short look-ups share a pool, which has 40 threads at most.
    assert threading.active_count() <= before + 40
    for link in links:
        link.close()
    backend.wait_for_figure(EVENTS, 0)


def test_fifty_viewers_of_a_live_stream_get_the_same_bytes(backend):
    job_id = backend.job()
    payloads = [bytes([i]) * 70_001 for i in range(20)]
    ready = threading.Barrier(51)

    def watch(_):
        answer = get(backend, f"/jobs/{job_id}/stream")
        ready.wait(PATIENCE_SECONDS)
        return answer.content

    with backend.fragments(job_id) as stream, ThreadPoolExecutor(50) as pool:
        stream.begin(*payloads[:2])
        viewers = [pool.submit(watch, i) for i in range(50)]
        ready.wait(PATIENCE_SECONDS)  # every viewer has its answer's head
        for payload in payloads[2:]:
            stream.grow(payload)
        stream.end()
        whole = b"".join(payloads)
        assert all(viewer.result(PATIENCE_SECONDS) == whole for viewer in viewers)
    late = get(backend, f"/jobs/{job_id}/stream")
    assert late.content == whole
    assert late.headers["Content-Length"] == str(len(whole))


def test_a_stream_says_what_it_is(backend):
    whole = tiny_fragments()
    begin = whole.index(b"moof") - 4
    answer = get(backend, f"/jobs/{backend.finished(whole[:begin], whole[begin:])}/stream")
    assert answer.content == whole
    assert answer.headers["Content-Type"] == 'video/mp4; codecs="avc1.64000a, mp4a.40.2"'
    assert answer.headers["X-Stream"] == "1"
    assert answer.headers["Cache-Control"] == "no-store"


class Viewer:
    """Somebody who watches a job."""

    def __init__(self, backend, job_id):
        self.answer = get(backend, f"/jobs/{job_id}/stream")
        self._chunks = self.answer.iter_content(None)
        self._left = b""

    def read(self, num_bytes):
        while len(self._left) < num_bytes:
            self._left += next(self._chunks)
        came, self._left = self._left[:num_bytes], self._left[num_bytes:]
        return came

    def rest(self):
        return self._left + b"".join(self._chunks)

    def until_broken_off(self):
        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            self.read(1 << 40)
        return self._left


def test_a_fragment_is_seen_as_soon_as_it_has_come(backend):
    job_id = backend.job()
    with backend.fragments(job_id) as stream:
        stream.begin(b"init")
        viewer = Viewer(backend, job_id)
        assert viewer.read(4) == b"init"
        stream.grow(b"next")
        assert viewer.read(4) == b"next"
        viewer.answer.close()


def test_when_the_render_starts_over_viewers_are_cut_off_and_may_begin_again(backend):
    job_id = backend.job()
    with backend.fragments(job_id) as stream:
        stream.begin(b"init", b"one")
        viewer = Viewer(backend, job_id)
        assert viewer.read(7) == b"initone"
        stream.begin(b"INIT", b"ONE")
        assert viewer.until_broken_off() == b""
        again = Viewer(backend, job_id)
        assert again.answer.headers["X-Stream"] == "2"
        stream.end()
        assert again.rest() == b"INITONE"


@pytest.mark.parametrize(
    "end",
    [Job.cancel, lambda job: job.fail(RenderFailed("no more").body())],
    ids=["cancelled", "failed"],
)
def test_of_a_job_that_ends_in_between_there_is_what_has_come_and_no_clean_end(backend, end):
    job_id = backend.job()
    with backend.fragments(job_id) as stream:
        stream.begin(b"init", b"one")
        viewer = Viewer(backend, job_id)
        assert viewer.read(7) == b"initone"
        backend.services.jobs.update(job_id, end)
        assert viewer.until_broken_off() == b""
    assert Viewer(backend, job_id).until_broken_off() == b"initone"


def test_what_was_written_just_before_the_end_still_comes(backend):
    job_id = backend.job()
    with backend.fragments(job_id) as stream:
        stream.begin(b"init")
        viewer = Viewer(backend, job_id)
        assert viewer.read(4) == b"init"
        stream.append(MediaRecord(seq=1, start=0, seconds=0.2), b"one")
        backend.services.jobs.update(job_id, Job.cancel)
    assert viewer.until_broken_off() == b"one"


def test_a_deleted_job_cuts_its_viewers_off(backend):
    job_id = backend.job()
    with backend.fragments(job_id) as stream:
        stream.begin(b"init")
        viewer = Viewer(backend, job_id)
        assert viewer.read(4) == b"init"
        assert requests.delete(f"{backend.url}/jobs/{job_id}").status_code == 204
        assert viewer.until_broken_off() == b""


def test_a_connection_that_waits_for_its_host_keeps_its_viewers(backend):
    job_id = backend.job()
    with backend.fragments(job_id) as stream:
        stream.begin(b"init")
        viewer = Viewer(backend, job_id)
        assert viewer.read(4) == b"init"
        backend.services.jobs.update(job_id, lambda job: job.requeue("the GPU host is away"))
        stream.grow(b"next")
        assert viewer.read(4) == b"next"
        viewer.answer.close()


def test_there_is_no_stream_before_its_first_bytes(backend):
    job_id = backend.job()
    answer = get(backend, f"/jobs/{job_id}/stream")
    assert code_of(answer) == (409, "VIDEO_NOT_READY")
    assert int(answer.headers["Retry-After"]) > 0
    backend.services.jobs.update(job_id, Job.cancel)
    answer = get(backend, f"/jobs/{job_id}/stream")
    assert code_of(answer) == (409, "VIDEO_NOT_READY")
    assert "Retry-After" not in answer.headers


def test_a_job_that_is_retried_shows_nothing_of_the_render_that_failed(backend):
    job_id = backend.job()
    with backend.fragments(job_id) as stream:
        stream.begin(b"init")
        stream.abandon()
        backend.services.jobs.update(job_id, Job.cancel)
        assert Viewer(backend, job_id).until_broken_off() == b"init"
        backend.services.jobs.update(job_id, Job.retry)
        assert code_of(get(backend, f"/jobs/{job_id}/stream")) == (409, "VIDEO_NOT_READY")


def test_a_stream_that_goes_just_when_it_is_asked_for_is_not_begun(backend, monkeypatch):
    job_id = backend.job()
    with backend.fragments(job_id) as stream:
        stream.begin(b"init")
        codecs = streams.FragmentsReader.codecs

        def then_begun_anew(reader):
            stream.start_over("again", "http://127.0.0.1:9")
            return codecs(reader)

        monkeypatch.setattr(streams.FragmentsReader, "codecs", then_begun_anew)
        answer = get(backend, f"/jobs/{job_id}/stream")
    assert code_of(answer) == (409, "VIDEO_NOT_READY")
    assert int(answer.headers["Retry-After"]) > 0


def test_a_backend_that_stops_sends_everybody_away(tmp_path):
    with watched_backend(tmp_path) as backend:
        job_id = backend.job()
        with backend.fragments(job_id) as stream:
            stream.begin(b"init")
        events = Events(backend, job_id)
        events.view()
        viewer = Viewer(backend, job_id)
        assert viewer.read(4) == b"init"
        backend.services.changes.close()
        assert events.next() is None
        assert viewer.until_broken_off() == b""


def test_a_generator_is_closed_before_its_answer_ends_even_if_its_caller_reads_no_more():
    closed = []

    async def endless():
        try:
            while True:
                yield b"more"
        finally:
            closed.append(True)

    async def serve():
        stuck = asyncio.Event()

        async def send(message):
            if message["type"] == "http.response.body":
                stuck.set()
                await asyncio.Event().wait()

        async def receive():
            await stuck.wait()
            return {"type": "http.disconnect"}

        # Held here, so that it is not closed for being forgotten.
        source = endless()
        await streams._Feed(source, "video/mp4", {})({"type": "http"}, receive, send)
        assert closed
        del source

    asyncio.run(serve())
