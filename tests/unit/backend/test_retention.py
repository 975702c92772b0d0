import logging
import os
import threading
import time
from datetime import timedelta

import pytest

from backend.jobs.job import Job, utc_now
from backend.jobs.retention import STAGING_SECONDS, Retention
from backend.jobs.store import JobStore
from backend.staging.store import MediaStore
from contracts.jobs import JobState
from contracts.lipsync import LipSyncOptions


@pytest.fixture
def jobs(database):
    return JobStore(database, max_queue=50)


@pytest.fixture
def media(tmp_path):
    return MediaStore(tmp_path / "media")


@pytest.fixture
def job(jobs, media):
    def job(state=JobState.SUCCEEDED, hours_ago=0.0, num_bytes=100):
        job_id, files = media.create()
        files.face.write_bytes(bytes(num_bytes // 2))
        files.video.write_bytes(bytes(num_bytes - num_bytes // 2))
        ended = utc_now() - timedelta(hours=hours_ago)
        jobs.add(
            Job(
                id=job_id,
                state=state,
                options=LipSyncOptions().model_dump(mode="json"),
                created_at=ended,
                finished_at=ended if state.final else None,
            )
        )
        return job_id

    return job


def expired(jobs, media, job_id):
    said = jobs.get(job_id).expired
    assert said is not media.of(job_id).folder.exists()
    return said


def test_media_go_when_they_are_old_and_their_jobs_stay(jobs, media, job):
    old = [job(state, hours_ago=2) for state in JobState if state.final]
    young, waiting, running = job(), job(JobState.QUEUED, 2), job(JobState.RUNNING, 2)
    retention = Retention(jobs, media, ttl_seconds=3600, budget_bytes=0)
    retention.sweep()
    assert all(expired(jobs, media, job_id) for job_id in old)
    assert not any(expired(jobs, media, job_id) for job_id in (young, waiting, running))
    assert jobs.get(young).version == 1
    retention.sweep()
    assert jobs.get(old[0]).version == 2


def test_zero_keeps_for_ever_and_without_limit(jobs, media, job):
    ancient = job(hours_ago=100_000)
    Retention(jobs, media, ttl_seconds=0, budget_bytes=0).sweep()
    assert not expired(jobs, media, ancient)


def test_over_the_budget_the_oldest_go_first_and_no_more_than_needed(jobs, media, job):
    newest, oldest, middle = job(hours_ago=1), job(hours_ago=3), job(hours_ago=2)
    running = job(JobState.RUNNING, num_bytes=10_000)
    retention = Retention(jobs, media, ttl_seconds=0, budget_bytes=300)
    retention.sweep()
    assert not expired(jobs, media, oldest)
    failed = job(JobState.FAILED, num_bytes=1)
    retention.sweep()
    assert expired(jobs, media, oldest)
    assert not any(expired(jobs, media, each) for each in (newest, middle, running, failed))
    Retention(jobs, media, ttl_seconds=0, budget_bytes=1).sweep()
    assert not expired(jobs, media, running)
    assert not expired(jobs, media, failed)
    assert expired(jobs, media, newest)


def test_a_job_that_is_retried_at_that_moment_keeps_its_media(jobs, media, job, monkeypatch):
    job_id = job(JobState.FAILED, hours_ago=2)
    keeping = jobs.keeping

    def then_retried():
        kept = keeping()
        jobs.update(job_id, Job.retry)
        monkeypatch.undo()
        return kept

    monkeypatch.setattr(jobs, "keeping", then_retried)
    Retention(jobs, media, ttl_seconds=60, budget_bytes=0).sweep()
    assert not expired(jobs, media, job_id)


def test_folders_of_no_job_go_once_no_upload_can_be_going_on(jobs, media, job):
    kept = job()
    half_expired = job()
    jobs.update(half_expired, Job.expire)
    stray, _ = media.create()
    fresh, _ = media.create()
    gone = media.of(".gone-1")
    gone.folder.mkdir()
    (gone.folder / "face").touch()
    long_ago = time.time() - STAGING_SECONDS - 60
    for job_id in (kept, half_expired, stray, ".gone-1"):
        os.utime(media.of(job_id).folder, (long_ago, long_ago))
    Retention(jobs, media, ttl_seconds=0, budget_bytes=0).sweep()
    left = {path.name for path in media.of(kept).folder.parent.iterdir()}
    assert left == {kept, fresh}


def test_it_sweeps_at_the_start_and_stops_at_once(jobs, media, job):
    old = job(hours_ago=2)
    removed = threading.Event()
    jobs.on_change.append(lambda job_id: removed.set() if job_id == old else None)
    retention = Retention(jobs, media, ttl_seconds=3600, budget_bytes=0)
    retention.start()
    assert removed.wait(30)
    retention.stop()
    assert expired(jobs, media, old)
    assert "retention" not in {thread.name for thread in threading.enumerate()}


def test_a_fault_is_logged_and_ends_nothing(jobs, media, monkeypatch, caplog):
    swept = threading.Semaphore(0)

    def broken():
        swept.release()
        raise OSError("the disk is away")

    monkeypatch.setattr("backend.jobs.retention.EVERY_SECONDS", 0.001)
    retention = Retention(jobs, media, ttl_seconds=3600, budget_bytes=0)
    monkeypatch.setattr(jobs, "keeping", broken)
    with caplog.at_level(logging.ERROR):
        retention.start()
        for _ in range(3):
            assert swept.acquire(timeout=30)
        retention.stop()
    assert "next sweep" in caplog.text
