import threading

import pytest

from backend.jobs.job import Job
from backend.jobs.store import JobStore
from backend.jobs.worker import MAX_ATTEMPTS, Worker
from contracts.errors import Busy, Cancelled, LipSyncError, NoFaceFound
from contracts.jobs import JobState
from tests.fakes.gpu_host import REPORT


class FakeSteps:
    """Makes a job by asking a function."""

    def __init__(self, make=lambda job, stop: REPORT):
        self.make = make


@pytest.fixture
def store(database):
    store = JobStore(database, max_queue=9)
    for job_id in "ab":
        store.add(Job(id=job_id, options={}))
    return store


@pytest.fixture
def work(store):
    """Starts workers, and stops them at the end."""
    workers = []

    def start(make=lambda job, stop: REPORT):
        worker = Worker(store, FakeSteps(make), num_threads=1)
        workers.append(worker)
        worker.start()
        return worker

    yield start
    for worker in workers:
        worker.stop()


def test_waiting_jobs_are_made_oldest_first(store, work):
    order = []

    def make(job, stop):
        order.append(job.id)
        return REPORT

    worker = work(make)
    worker.finished("b").result(20)
    assert order == ["a", "b"]
    assert store.get("a").state == JobState.SUCCEEDED


def test_a_failure_is_kept_with_its_own_code_and_the_next_job_goes_on(store, work):
    def make(job, stop):
        if job.id == "a":
            raise NoFaceFound("there is nobody")
        return REPORT

    work(make).finished("b").result(20)
    error = store.get("a").view().error
    assert (error.code, error.detail) == ("NO_FACE_FOUND", "there is nobody")
    assert error.field == "image"


def test_an_unforeseen_fault_fails_the_job_alone_and_tells_no_secrets(store, work):
    def make(job, stop):
        if job.id == "a":
            raise RuntimeError("a canary")
        return REPORT

    work(make).finished("b").result(20)
    error = store.get("a").view().error
    assert error.code == "INTERNAL"
    assert "canary" not in error.model_dump_json()
    assert store.get("b").state == JobState.SUCCEEDED


def test_a_fault_that_cannot_even_be_kept_does_not_end_the_work(store, work, monkeypatch):
    update, gate = store.update, threading.Event()

    def update_on_a_full_disk(job_id, change):
        if job_id == "a":
            raise OSError("the disk is full")
        return update(job_id, change)

    def make(job, stop):
        assert gate.wait(20)
        return REPORT

    monkeypatch.setattr(store, "update", update_on_a_full_disk)
    store.add(Job(id="c", options={}))
    worker = work(make)
    worker.enqueue("a")
    waiting = worker.finished("a")
    gate.set()
    worker.finished("c").result(20)
    assert isinstance(waiting.exception(20), LipSyncError)
    assert store.get("b").state == JobState.SUCCEEDED


def test_a_render_that_its_host_cancels_has_failed(store, work):
    def make(job, stop):
        raise Cancelled("the host was told to stop")

    work(make).finished("a").result(20)
    assert store.get("a").view().error.code == "CANCELLED"


def test_a_job_that_ran_when_its_process_died_is_taken_up_again(store, work):
    store.claim("a", "dead", 60, "host")
    work().finished("a").result(20)
    job = store.get("a")
    assert (job.state, job.deaths) == (JobState.SUCCEEDED, 1)


def test_a_job_that_keeps_killing_the_process_is_given_up(store, work):
    store.claim("a", "dead", 60, "host")
    store.update("a", lambda job: setattr(job, "deaths", MAX_ATTEMPTS))
    work().finished("a").result(20)
    assert store.get("a").view().error.code == "RENDER_FAILED"


def test_stopping_gives_the_running_job_back_and_the_next_start_makes_it(store, work):
    began = threading.Event()

    def make_until_stopped(job, stop):
        began.set()
        assert stop.wait(20)
        raise Cancelled("stopped")

    worker = work(make_until_stopped)
    assert began.wait(20)
    waiting = worker.finished("a")
    worker.stop()
    with pytest.raises(Busy, match="goes on when it runs again"):
        waiting.result(0)
    job = store.get("a")
    assert (job.state, job.deaths) == (JobState.QUEUED, 0)
    work().finished("b").result(20)
    assert store.get("a").state == JobState.SUCCEEDED


def test_stopping_tells_those_who_wait_and_minds_those_who_left(work):
    gate = threading.Event()

    def make(job, stop):
        assert gate.wait(20)
        raise Cancelled("stopped")

    worker = work(make)
    left, waiting = worker.finished("b"), worker.finished("b")
    assert left.cancel()
    gate.set()
    worker.stop()
    assert isinstance(waiting.exception(0), Busy)
    assert isinstance(worker.finished("b").exception(0), Busy)


def test_one_who_asks_late_is_told_at_once(work):
    worker = work()
    worker.finished("a").result(20)
    worker.finished("a").result(20)


def test_one_who_stops_waiting_does_not_stop_the_job(store, work):
    gate = threading.Event()

    def make(job, stop):
        assert gate.wait(20)
        return REPORT

    worker = work(make)
    assert worker.finished("a").cancel()
    gate.set()
    worker.finished("b").result(20)
    assert store.get("a").state == JobState.SUCCEEDED
