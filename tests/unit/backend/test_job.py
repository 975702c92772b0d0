from datetime import UTC

import pytest

from backend.jobs.job import Job
from contracts.errors import NoFaceFound
from contracts.jobs import JobStage, JobState
from tests.fakes.gpu_host import REPORT


def a_job(sessions, **fields):
    job = Job(id="a", options={}, **fields)
    with sessions.begin() as session:
        session.add(job)
    return job


def test_a_job_goes_from_queued_to_succeeded(sessions):
    job = a_job(sessions)
    assert job.view().state is JobState.QUEUED
    job.start()
    job.reach(JobStage.RENDERING, 0.5)
    job.took(render=1.23456)
    job.took(finish=0.1)
    job.succeed(REPORT)
    view = job.view()
    assert (view.state, view.stage, view.progress) == (JobState.SUCCEEDED, JobStage.DONE, 1.0)
    assert view.stage_seconds == {"render": 1.235, "finish": 0.1}
    assert view.report == REPORT
    assert view.engine == "counting"
    assert view.finished_at is not None
    assert view.finished_at.tzinfo is UTC


def test_progress_never_goes_back(sessions):
    job = a_job(sessions)
    job.start()
    job.reach(JobStage.RENDERING, 0.5)
    job.reach(JobStage.RENDERING, 0.4)
    assert job.progress == 0.5


@pytest.mark.parametrize("change", ["start", "requeue", "fail", "succeed"])
def test_a_final_job_changes_no_more(sessions, change):
    job = a_job(sessions)
    job.start()
    job.fail(NoFaceFound("none").body())
    arguments = {"fail": [NoFaceFound("none").body()], "succeed": [REPORT]}.get(change, [])
    with pytest.raises(AssertionError, match="failed job"):
        getattr(job, change)(*arguments)


def test_a_job_given_back_starts_over(sessions):
    job = a_job(sessions)
    job.start()
    job.reach(JobStage.RENDERING, 0.5)
    job.requeue()
    assert job.view().stage is JobStage.WAITING
    job.start()
    assert (job.progress, job.attempts) == (0.0, 2)
