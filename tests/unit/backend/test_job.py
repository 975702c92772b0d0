from datetime import UTC, timedelta

import pytest

from backend.jobs.job import Job, utc_now
from contracts.errors import JobEnded, JobNotRetriable, NoFaceFound
from contracts.jobs import JobStage, JobState
from tests.fakes.gpu_host import REPORT


@pytest.fixture
def job(database):
    job = Job(id="a", options={})
    with database.writing() as session:
        session.add(job)
    return job


def start(job, owner="worker"):
    job.start(owner, 15, "Colab")


def fail(job):
    job.fail(NoFaceFound("none").body())


def test_a_job_goes_from_queued_to_succeeded(job):
    assert job.view().state is JobState.QUEUED
    start(job)
    job.reach(JobStage.RENDERING)
    job.took(render=1.23456)
    job.took(finish=0.1)
    job.succeed(REPORT)
    view = job.view()
    assert (view.state, view.stage, view.progress) == (JobState.SUCCEEDED, JobStage.DONE, 1.0)
    assert view.stage_seconds == {"render": 1.235, "finish": 0.1}
    assert view.report == REPORT
    assert (view.engine, view.gpu_host) == ("counting", "Colab")
    assert view.finished_at is not None
    assert view.finished_at.tzinfo is UTC


def test_while_files_are_sent_progress_is_their_share(job):
    start(job)
    job.send(3, 4, 9.0)
    view = job.view()
    assert (view.stage, view.progress, view.seconds_left) == (JobStage.UPLOADING, 0.75, 9.0)
    assert view.media_seconds == 0
    job.send(0, 0, None)
    assert job.view().progress == 0


def test_progress_is_the_share_of_the_speech_that_has_become_video(job):
    start(job)
    job.receive(1.5, 6.0, 4.2)
    view = job.view()
    assert (view.progress, view.media_seconds, view.seconds_left) == (0.25, 1.5, 4.2)
    job.receive(6.04, 6.0, None)
    assert job.view().progress == 1.0


@pytest.mark.parametrize("change", ["start", "requeue", "fail", "succeed"])
def test_a_job_that_has_succeeded_changes_no_more(job, change):
    start(job)
    job.succeed(REPORT)
    arguments = {
        "start": ["worker", 15, "Colab"],
        "fail": [NoFaceFound("none").body()],
        "succeed": [REPORT],
    }.get(change, [])
    with pytest.raises(AssertionError, match="succeeded job"):
        getattr(job, change)(*arguments)


@pytest.mark.parametrize("how", ["queued", "running"])
def test_a_job_that_has_not_ended_can_be_cancelled(job, how):
    if how == "running":
        start(job)
    job.cancel()
    assert job.view().state is JobState.CANCELLED
    assert (job.lease_owner, job.lease_until) == (None, None)
    with pytest.raises(JobEnded, match="been cancelled"):
        job.cancel()


def test_a_retry_starts_over_with_the_engine_that_was_chosen(job):
    start(job)
    job.engine = "wav2lip"
    job.receive(1, 2, None)
    job.count(NoFaceFound("none").body())
    fail(job)
    before = job.queued_at
    job.retry()
    view = job.view()
    assert (view.state, view.error, view.attempts, view.progress) == (JobState.QUEUED, None, (), 0)
    assert (view.engine, view.finished_at) == ("wav2lip", None)
    assert job.queued_at > before


@pytest.mark.parametrize("how", ["queued", "running", "succeeded"])
def test_only_what_failed_or_was_cancelled_can_be_retried(job, how):
    if how != "queued":
        start(job)
    if how == "succeeded":
        job.succeed(REPORT)
    with pytest.raises(JobNotRetriable):
        job.retry()


def test_a_job_given_back_keeps_what_has_come_and_says_why_it_waits(job):
    start(job)
    job.begin_stream(1)
    job.receive(1.0, 4.0, 3.0)
    job.requeue("no GPU host answers")
    view = job.view()
    assert (view.stage, view.reason) == (JobStage.WAITING, "no GPU host answers")
    assert (view.progress, view.seconds_left, view.stream) == (0.25, None, 1)


def test_a_lease_ends_in_the_future_and_with_the_work(job):
    start(job)
    assert timedelta(seconds=10) < job.lease_until - utc_now() < timedelta(seconds=20)
    fail(job)
    assert job.lease_owner is None


def test_a_render_that_begins_anew_is_another_stream(job):
    start(job)
    job.begin_stream(1)
    job.receive(1, 2, None)
    job.begin_stream(2)
    assert (job.stream, job.media_seconds, job.progress) == (2, 0, 0)


def test_counted_attempts_name_host_and_error(job):
    start(job)
    job.count(NoFaceFound("there is nobody").body())
    (attempt,) = job.view().attempts
    assert (attempt.gpu_host, attempt.error.code) == ("Colab", "NO_FACE_FOUND")
