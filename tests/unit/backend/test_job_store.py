from concurrent.futures import ThreadPoolExecutor

import pytest

from backend.jobs.job import Job
from backend.jobs.store import JobStore
from contracts.errors import JobNotFound, NoFaceFound, QueueFull


def test_changes_are_kept(sessions):
    store = JobStore(sessions, max_queue=9)
    store.add(Job(id="a", options={}, text="Hello."))
    store.update("a", lambda job: setattr(job, "voice", "fake:en"))
    again = JobStore(sessions, max_queue=9).get("a")
    assert (again.text, again.voice) == ("Hello.", "fake:en")


def test_what_get_returns_changes_nothing(sessions):
    store = JobStore(sessions, max_queue=9)
    store.add(Job(id="a", options={}))
    store.get("a").voice = "other"
    assert store.get("a").voice is None


def test_an_unknown_job_is_not_found(sessions):
    with pytest.raises(JobNotFound):
        JobStore(sessions, max_queue=9).get("nobody")


def test_the_queue_has_an_end_and_running_jobs_do_not_count(sessions):
    store = JobStore(sessions, max_queue=2)
    store.add(Job(id="a", options={}))
    store.add(Job(id="b", options={}))
    with pytest.raises(QueueFull) as refusal:
        store.add(Job(id="c", options={}))
    assert refusal.value.retry_after_seconds
    with pytest.raises(QueueFull):
        store.foresee(None)
    store.update("a", Job.start)
    store.add(Job(id="c", options={}))


def test_unfinished_jobs_come_oldest_first(sessions):
    store = JobStore(sessions, max_queue=9)
    for job_id in "dcba":
        store.add(Job(id=job_id, options={}))
    store.update("c", Job.start)
    store.update("b", Job.start)
    store.update("b", lambda job: job.fail(NoFaceFound("none").body()))
    assert [job.id for job in store.unfinished()] == ["d", "c", "a"]


def test_no_change_is_lost_when_threads_change_one_job(sessions):
    store = JobStore(sessions, max_queue=9)
    store.add(Job(id="a", options={}))
    with ThreadPoolExecutor(8) as pool:
        for i in range(40):
            pool.submit(store.update, "a", lambda job, i=i: job.took(**{f"stage{i}": 1.0}))
    assert len(store.get("a").stage_seconds) == 40
