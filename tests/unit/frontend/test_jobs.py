"""The page of a job in each of its states."""

import re

import pytest
from flask.testing import FlaskClient

from contracts.errors import NoFaceFound
from contracts.jobs import JobStage, JobState
from frontend import words
from tests.fakes.backend import FakeBackend, job_view


@pytest.mark.parametrize("stage", list(JobStage)[:-1])
def test_a_running_job_says_in_plain_words_what_it_does(
    fake: FakeBackend, client: FlaskClient, stage: JobStage
) -> None:
    fake.jobs["job"] = job_view(JobState.RUNNING, stage)
    page = client.get("/jobs/job").text
    assert words.STAGES[stage] in page
    assert "<progress" in page
    assert 'value="0.42"' in page
    assert '<noscript><meta http-equiv="refresh"' in page


def test_a_finished_job_shows_its_video_and_how_it_was_made(
    fake: FakeBackend, client: FlaskClient
) -> None:
    fake.jobs["job"] = job_view(JobState.SUCCEEDED, JobStage.DONE, id="job")
    page = client.get("/jobs/job").text
    assert re.search(r'<video[^>]* src="/jobs/job/video"[^>]* controls', page)
    assert re.search(r'<a[^>]* href="/jobs/job/video" download="[^"]+\.mp4"', page)
    assert "English (America) (offline)" in page
    assert "facewarp 1" in page
    assert "2.1 s" in page
    assert "http-equiv" not in page


def test_a_finished_job_says_what_hurt_the_picture(fake: FakeBackend, client: FlaskClient) -> None:
    job = job_view(JobState.SUCCEEDED, JobStage.DONE)
    assert job.report
    report = job.report.model_copy(update={"warnings": ("the face is dark",)})
    fake.jobs["job"] = job.model_copy(update={"report": report})
    assert "The face is dark." in client.get("/jobs/job").text


def test_a_failed_job_says_why_and_what_to_do(fake: FakeBackend, client: FlaskClient) -> None:
    error = NoFaceFound("no face was found in the picture").body("request-7")
    fake.jobs["job"] = job_view(JobState.FAILED, JobStage.PREPARING, error=error)
    page = client.get("/jobs/job").text
    assert "No face was found in the picture." in page
    assert "both eyes and the mouth" in page
    assert "request-7" in page
    assert "http-equiv" not in page


def test_the_job_for_scripts_is_as_the_backend_shows_it(
    fake: FakeBackend, client: FlaskClient
) -> None:
    fake.jobs["job"] = job_view(JobState.RUNNING, JobStage.SPEAKING)
    assert client.get("/jobs/job.json").json == fake.jobs["job"].model_dump(mode="json")


def test_a_job_that_is_not_there_is_an_error_page(client: FlaskClient) -> None:
    page = client.get("/jobs/none")
    assert page.status_code == 404
    assert "There is no such job" in page.text
