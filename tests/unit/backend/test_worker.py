"""What becomes of jobs: who makes them, when, and what each outcome does."""

import errno
import threading
import time
from datetime import timedelta

import pytest
from sqlalchemy.exc import OperationalError

from backend.jobs import worker as worker_module
from backend.jobs.job import Job, utc_now
from backend.jobs.store import JobStore
from backend.jobs.worker import MAX_DEATHS, Worker
from contracts.errors import (
    Cancelled,
    CheckpointMissing,
    Conflict,
    EngineBusy,
    EngineError,
    GpuAnswerBroken,
    GpuHostDied,
    GpuRefused,
    GpuTimeout,
    GpuUnreachable,
    NoFaceFound,
    SpeechFailed,
)
from contracts.jobs import JobStage, JobState
from tests.fakes.gpu_host import REPORT

PATIENCE_SECONDS = 30


def until(condition):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.01)


class FakePlace:
    def __init__(self, hosts, name):
        self.hosts, self.name, self.client = hosts, name, None

    def leave(self):
        self.hosts.taken.remove(self.name)
        for tell in self.hosts.on_news:
            tell()

    def rendered(self):
        self.hosts.notes.append("rendered")

    def failed(self, error):
        self.hosts.notes.append(error.code)

    def busy(self, seconds):
        self.hosts.notes.append(f"busy {seconds}")


class FakeHosts:
    """Hosts with room for one job each."""

    def __init__(self, *names):
        self.names = list(names)
        self.taken, self.notes, self.wishes, self.on_news = [], [], [], []
        self.reason = None

    def ask(self):
        pass

    def take(self, engine, *, begun, last, avoid):
        self.wishes.append((engine, begun, last, avoid))
        free = [name for name in self.names if name not in self.taken]
        if engine == "nowhere" or self.reason or not free:
            return None
        self.taken.append(min(free, key=lambda name: name in avoid))
        return FakePlace(self, self.taken[-1])

    def why(self, engine=None):
        return GpuUnreachable("nobody has it") if engine == "nowhere" else self.reason

    def news(self, reason=None):
        self.reason = reason
        for tell in self.on_news:
            tell()


class FakeSteps:
    """Makes a job by asking a function."""

    def __init__(self, make):
        self._make = make

    def make(self, task):
        return self._make(task) or REPORT


@pytest.fixture
def store(database):
    store = JobStore(database, max_queue=9)
    for job_id in "ab":
        store.add(Job(id=job_id, options={}))
    return store


@pytest.fixture
def hosts():
    return FakeHosts("one")


@pytest.fixture
def work(store, hosts):
    """Starts workers, and stops them at the end."""
    workers = []

    def start(make=lambda task: None, **settings):
        worker = Worker(store, FakeSteps(make), hosts, **settings)
        workers.append(worker)
        worker.start()
        return worker

    yield start
    for worker in workers:
        worker.stop()


def wait_for(store, job_id, state=JobState.SUCCEEDED):
    until(lambda: store.get(job_id).state == state)
    return store.get(job_id).view()


def hold(task):
    """Work that ends only when it is stopped."""
    assert task.stop.wait(PATIENCE_SECONDS)
    raise Cancelled("stopped")


class Faults:
    """Raises these for job `a`, one a time, and makes everything else."""

    def __init__(self, *faults):
        self.left = list(faults)

    def __call__(self, task):
        if task.job.id == "a" and self.left:
            raise self.left.pop(0)


def test_waiting_jobs_are_made_oldest_first(store, hosts, work):
    order = []
    work(lambda task: order.append(task.job.id))
    wait_for(store, "b")
    assert order == ["a", "b"]
    assert store.get("a").gpu_host == "one"
    until(lambda: hosts.notes == ["rendered", "rendered"] and not hosts.taken)


def test_hosts_work_side_by_side_up_to_the_limit(store, hosts, work):
    hosts.names += ["two", "three"]
    store.add(Job(id="c", options={}))
    meeting = threading.Barrier(2)
    most = []

    def make(task):
        most.append(len(hosts.taken))
        if task.job.id != "c":
            meeting.wait(PATIENCE_SECONDS)

    work(make, max_running=2)
    wait_for(store, "c")
    assert max(most) == 2


def test_a_job_that_another_process_accepts_is_noticed(database, store, work):
    work()
    wait_for(store, "b")
    JobStore(database, max_queue=9).add(Job(id="c", options={}))
    wait_for(store, "c")


def test_without_a_host_jobs_wait_with_the_reason_and_go_when_one_appears(store, hosts, work):
    hosts.reason = GpuUnreachable("no GPU host answers at http://one")
    work()
    until(lambda: store.get("b").reason)
    view = store.get("a").view()
    assert (view.state, view.stage) == (JobState.QUEUED, JobStage.WAITING)
    assert view.reason == "no GPU host answers at http://one"
    version = view.version
    hosts.news(hosts.reason)
    hosts.news()
    view = wait_for(store, "b")
    assert (view.reason, view.attempts) == ("", ())
    assert store.get("a").version < version + 9, "the reason was told again and again"


def test_a_job_that_no_host_can_make_does_not_block_those_behind_it(store, work):
    store.update("a", lambda job: setattr(job, "options", {"engine": "nowhere"}))
    work()
    wait_for(store, "b")
    view = store.get("a").view()
    assert (view.state, view.reason) == (JobState.QUEUED, "nobody has it")


def test_an_engine_that_was_chosen_stays_and_its_host_is_preferred(store, hosts, work):
    def choose_and_fail(task):
        if task.job.engine is None:
            task.update(lambda job: setattr(job, "engine", "wav2lip"))
            raise EngineError("out of memory")

    store.delete("b")
    work(choose_and_fail)
    wait_for(store, "a")
    assert hosts.wishes[0] == (None, False, None, set())
    assert hosts.wishes[-1] == ("wav2lip", True, "one", {"one"})


@pytest.mark.parametrize(
    ("error", "field"),
    [
        (NoFaceFound("there is nobody"), "image"),
        (CheckpointMissing("no weights"), "engine"),
        (SpeechFailed("no voice could speak the text"), ""),
    ],
)
def test_what_trying_again_would_not_mend_fails_at_once_by_its_field(store, work, error, field):
    work(Faults(error))
    view = wait_for(store, "a", JobState.FAILED)
    assert (view.error.code, view.error.detail) == (error.code, error.detail)
    assert (view.error.field, view.error.request_id, view.attempts) == (field, "a", ())
    wait_for(store, "b")


@pytest.mark.parametrize("num_faults", [2, 3])
def test_an_engine_may_fail_twice_and_is_tried_elsewhere_first(store, hosts, work, num_faults):
    hosts.names.append("two")
    tried = []
    faults = Faults(*[EngineError(f"fault {i}") for i in range(num_faults)])

    def make(task):
        tried.append(hosts.taken[0])
        faults(task)

    store.delete("b")
    work(make)
    view = wait_for(store, "a", JobState.SUCCEEDED if num_faults < 3 else JobState.FAILED)
    assert tried[:2] == ["one", "two"]
    assert [attempt.gpu_host for attempt in view.attempts] == tried[:num_faults]
    assert [attempt.error.detail for attempt in view.attempts] == [
        f"fault {i}" for i in range(num_faults)
    ]
    if num_faults == 3:
        assert view.error.detail == "fault 2"


def test_how_many_attempts_a_job_has_is_a_setting(store, work):
    work(Faults(EngineError("once")), max_attempts=1)
    assert len(wait_for(store, "a", JobState.FAILED).attempts) == 1


def test_a_host_that_dies_within_renders_is_counted_while_the_render_goes_on(store, work):
    died = GpuHostDied("it was restarted")

    def make(task):
        if task.job.id == "a":
            for _ in range(9):
                task.died(died)

    work(make)
    view = wait_for(store, "a", JobState.FAILED)
    assert (view.error.code, len(view.attempts)) == ("GPU_HOST_DIED", 3)
    wait_for(store, "b")


@pytest.mark.parametrize("kind", [GpuUnreachable, GpuTimeout, GpuRefused, GpuAnswerBroken])
def test_a_host_that_cannot_be_reached_costs_the_job_nothing(store, hosts, work, kind):
    reasons = []
    store.on_change.append(lambda job_id: reasons.append(store.get("a").reason))
    work(Faults(*[kind("the line is dead")] * 5))
    view = wait_for(store, "a")
    assert (view.attempts, view.error) == ((), None)
    assert hosts.notes.count(kind.code) == 5
    assert "the line is dead" in reasons


def test_a_job_on_which_its_host_always_fails_lets_the_others_pass(store, work):
    work(Faults(*[GpuAnswerBroken("the line is dead")] * 100_000))
    wait_for(store, "b")
    assert store.get("a").state in (JobState.QUEUED, JobState.RUNNING)


def test_a_job_on_which_a_host_failed_is_not_passed_for_ever(store, work):
    store.update("b", lambda job: setattr(job, "queued_at", utc_now() + timedelta(minutes=2)))
    order, faults = [], Faults(GpuAnswerBroken("the line is dead"))

    def make(task):
        order.append(task.job.id)
        faults(task)

    work(make)
    wait_for(store, "b")
    assert order == ["a", "a", "b"]


def test_a_busy_host_is_left_alone_and_has_not_failed(store, hosts, work):
    work(Faults(EngineBusy("busy", retry_after_seconds=7), EngineBusy("busy")))
    assert wait_for(store, "a").attempts == ()
    assert {"busy 7", "busy 5.0"} <= set(hosts.notes)


def test_a_job_whose_video_an_earlier_worker_still_writes_is_tried_again(store, work):
    work(Faults(Conflict("another process writes this job's video")))
    assert wait_for(store, "a").attempts == ()


def test_an_unforeseen_fault_fails_the_job_alone_and_tells_no_secrets(store, work):
    work(Faults(RuntimeError("a canary")))
    view = wait_for(store, "a", JobState.FAILED)
    assert view.error.code == "INTERNAL"
    assert "canary" not in view.model_dump_json()
    wait_for(store, "b")


@pytest.mark.parametrize(
    "fault",
    [OSError(errno.ENOSPC, "No space left"), OperationalError("INSERT", {}, Exception("locked"))],
    ids=["disk", "database"],
)
def test_a_full_disk_loses_no_job_and_is_not_tried_in_a_loop(store, work, monkeypatch, fault):
    monkeypatch.setattr(worker_module, "FIRST_TROUBLE_SECONDS", 0.01)
    monkeypatch.setattr(worker_module, "POLL_SECONDS", 0.05)
    faults = Faults(*[fault] * 4)
    worker = work(faults)
    view = wait_for(store, "a")
    assert (view.attempts, view.error, faults.left) == ((), None, [])
    wait_for(store, "b")
    worker.stop()
    assert worker._num_troubles == 0


def test_pauses_grow_while_the_disk_is_full(store, work, monkeypatch):
    monkeypatch.setattr(worker_module, "FIRST_TROUBLE_SECONDS", 1000)
    tried = threading.Event()

    def make(task):
        tried.set()
        raise OSError(errno.ENOSPC, "No space left")

    worker = work(make)
    assert tried.wait(PATIENCE_SECONDS)
    until(lambda: "can't store" in store.get("a").reason)
    worker.stop()
    assert worker._resume_at - time.monotonic() > 40
    assert store.get("b").state == JobState.QUEUED


def test_what_became_of_a_job_is_kept_as_soon_as_that_is_possible(store, work, monkeypatch):
    monkeypatch.setattr(worker_module, "FIRST_TROUBLE_SECONDS", 0.01)
    update, full = store.update, threading.Event()
    full.set()

    def update_on_a_full_disk(job_id, change, owner=None):
        if job_id == "a" and full.is_set():
            raise OSError(errno.ENOSPC, "No space left")
        return update(job_id, change, owner)

    monkeypatch.setattr(store, "update", update_on_a_full_disk)
    work(lease_seconds=0.3)
    wait_for(store, "b")
    assert store.get("a").state == JobState.RUNNING
    full.clear()
    assert wait_for(store, "a").attempts == ()


def test_a_fault_while_jobs_are_given_out_does_not_end_the_work(store, work, monkeypatch):
    monkeypatch.setattr(worker_module, "FIRST_TROUBLE_SECONDS", 0.01)
    waiting, faults = store.waiting, [RuntimeError("nobody foresaw it")]

    def broken_once(limit):
        if faults:
            raise faults.pop()
        return waiting(limit)

    monkeypatch.setattr(store, "waiting", broken_once)
    work()
    wait_for(store, "b")


def test_a_job_that_no_thread_could_be_started_for_is_given_back(store, hosts, work, monkeypatch):
    monkeypatch.setattr(worker_module, "FIRST_TROUBLE_SECONDS", 0.01)
    start, faults = threading.Thread.start, [RuntimeError("can't start new thread")]

    def broken_once(thread):
        if thread.name == "job-a" and faults:
            raise faults.pop()
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", broken_once)
    work(lease_seconds=0.3)
    wait_for(store, "a")
    assert not faults
    until(lambda: not hosts.taken)


@pytest.mark.parametrize("how", ["cancelled", "deleted"])
def test_a_job_that_nobody_wants_stops_at_once_and_so_does_its_host(store, work, how):
    began, stops = threading.Event(), []

    def make(task):
        if task.job.id == "a":
            stops.append(task.stop)
            began.set()
            hold(task)

    work(make)
    assert began.wait(PATIENCE_SECONDS)
    if how == "cancelled":
        store.update("a", Job.cancel)
    else:
        store.delete("a")
    assert stops[0].is_set()
    assert not stops[0].detached
    wait_for(store, "b")
    if how == "cancelled":
        assert store.get("a").state == JobState.CANCELLED


def test_what_another_process_cancels_is_noticed_at_the_next_change(database, store, work):
    began, cancelled, stops = threading.Event(), threading.Event(), []

    def make(task):
        if task.job.id == "a":
            stops.append(task.stop)
            began.set()
            assert cancelled.wait(PATIENCE_SECONDS)
            task.update(lambda job: job.receive(1, 2, None))

    work(make)
    assert began.wait(PATIENCE_SECONDS)
    JobStore(database, max_queue=9).update("a", Job.cancel)
    cancelled.set()
    wait_for(store, "b")
    assert stops[0].is_set()
    assert store.get("a").state == JobState.CANCELLED


def test_what_breaks_because_another_process_deleted_the_job_is_no_fault(
    database, store, work, caplog
):
    def make(task):
        if task.job.id == "a":
            JobStore(database, max_queue=9).delete("a")
            raise FileNotFoundError("its folder")

    work(make)
    wait_for(store, "b")
    assert "nobody foresaw" not in caplog.text


def test_what_another_process_cancels_is_noticed_when_the_lease_is_renewed(database, store, work):
    began = threading.Event()

    def make(task):
        if task.job.id == "a":
            began.set()
            hold(task)

    work(make, lease_seconds=0.3)
    assert began.wait(PATIENCE_SECONDS)
    JobStore(database, max_queue=9).update("a", Job.cancel)
    wait_for(store, "b")


def test_a_lost_lease_stops_the_work_here_and_touches_neither_job_nor_render(store, work):
    began, stops = threading.Event(), []

    def make(task):
        if task.job.id == "a":
            stops.append(task.stop)
            began.set()
            hold(task)

    work(make)
    assert began.wait(PATIENCE_SECONDS)
    store.update("a", lambda job: job.renew("another", 60))
    assert stops[0].is_set()
    assert stops[0].detached
    wait_for(store, "b")
    assert (store.get("a").state, store.get("a").lease_owner) == (JobState.RUNNING, "another")


def test_leases_of_running_jobs_are_renewed(store, work):
    began, gate = threading.Event(), threading.Event()

    def make(task):
        began.set()
        assert gate.wait(PATIENCE_SECONDS)

    work(make, lease_seconds=0.3)
    assert began.wait(PATIENCE_SECONDS)
    until_then = store.get("a").lease_until
    until(lambda: store.get("a").lease_until > until_then)
    gate.set()
    assert wait_for(store, "a").attempts == ()
    assert store.get("a").deaths == 0


def test_a_job_taken_up_again_is_not_made_twice_at_once(store, work):
    """Cancelled and retried at once, while the thread that made it is still ending."""
    began, gate, at_once = threading.Event(), threading.Event(), []

    def make(task):
        if task.job.id == "a":
            at_once.append("in")
            if not began.is_set():
                began.set()
                assert gate.wait(PATIENCE_SECONDS)
            assert at_once.pop() == "in"
            assert not at_once

    work(make)
    assert began.wait(PATIENCE_SECONDS)
    store.update("a", Job.cancel)
    store.update("a", Job.retry)
    gate.set()
    wait_for(store, "a")


def test_a_job_cancelled_and_taken_up_again_while_it_is_claimed_is_made(store, work, monkeypatch):
    claim, once = store.claim, [True]

    def claim_late(job_id, *lease):
        if job_id == "a" and once:
            once.clear()
            store.update("a", Job.cancel)
            store.update("a", Job.retry)
        return claim(job_id, *lease)

    def make(task):
        if task.stop.is_set():
            raise Cancelled("stopped")

    monkeypatch.setattr(store, "claim", claim_late)
    work(make, lease_seconds=1000)
    wait_for(store, "a")


def test_a_job_whose_process_is_known_to_be_dead_is_taken_up_at_once(store, work, monkeypatch):
    monkeypatch.setattr(worker_module, "is_dead", lambda owner: owner == "the dead")
    store.claim("a", "the dead", 60, "one")
    store.claim("b", "the living", 60, "one")
    work()
    assert (wait_for(store, "a").attempts, store.get("a").deaths) == ((), 1)
    assert store.get("b").lease_owner == "the living"


def test_a_job_whose_lease_runs_out_is_taken_up(store, work):
    store.claim("a", "another", 0.1, "one")
    work(lease_seconds=0.3)
    wait_for(store, "a")


def test_a_job_that_keeps_killing_the_process_is_given_up(store, work):
    store.update("a", lambda job: setattr(job, "deaths", MAX_DEATHS))
    work()
    assert wait_for(store, "a", JobState.FAILED).error.code == "RENDER_FAILED"
    wait_for(store, "b")


def test_stopping_gives_the_running_job_back_and_leaves_its_render_to_the_next_start(store, work):
    began, stops = threading.Event(), []

    def make(task):
        stops.append(task.stop)
        began.set()
        hold(task)

    worker = work(make)
    assert began.wait(PATIENCE_SECONDS)
    assert not worker.stopping
    worker.stop()
    assert worker.stopping
    assert stops[0].detached
    job = store.get("a")
    assert (job.state, job.deaths, job.attempts) == (JobState.QUEUED, 0, [])
    work()
    wait_for(store, "b")
    assert store.get("a").state == JobState.SUCCEEDED


def test_stopping_does_not_wait_for_one_that_does_not_hear(store, work):
    began, gate = threading.Event(), threading.Event()

    def make(task):
        began.set()
        assert gate.wait(PATIENCE_SECONDS)

    worker = work(make)
    assert began.wait(PATIENCE_SECONDS)
    worker.stop(timeout_seconds=0.05)
    job = store.get("a")
    assert (job.state, job.deaths) == (JobState.QUEUED, 0)
    gate.set()
