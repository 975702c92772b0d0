"""The list of jobs, and the page of a job in each of its states."""

import re
from datetime import UTC, datetime

import pytest
from flask.testing import FlaskClient

from contracts.errors import EngineError, NoFaceFound
from contracts.jobs import FailedAttempt, JobStage, JobState
from contracts.lipsync import FrameRange
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


def test_a_job_whose_uploads_are_at_fault_is_not_tried_again_unchanged(
    fake: FakeBackend, client: FlaskClient
) -> None:
    upload = NoFaceFound("no face was found").body()
    engine = EngineError("the engine ran out of memory").body()
    for error, offered in ((upload, False), (engine, True), (None, True)):
        fake.jobs["job"] = job_view(JobState.FAILED, JobStage.DONE, id="job", error=error)
        for path in ("/jobs/job", "/jobs"):
            assert ('action="/jobs/job/retry"' in client.get(path).text) is offered, (path, error)


def test_a_job_that_waits_says_why_and_can_be_cancelled(
    fake: FakeBackend, client: FlaskClient
) -> None:
    fake.jobs["job"] = job_view(
        JobState.QUEUED, JobStage.WAITING, id="job", reason="no GPU host answers"
    )
    for path in ("/jobs/job", "/jobs"):
        page = client.get(path).text
        assert "Waiting for its turn" in page
        assert "No GPU host answers." in page
        assert 'action="/jobs/job/cancel"' in page
        assert 'href="/jobs/job/delete"' not in page


def test_time_left_is_said_only_where_the_backend_knows_it(
    fake: FakeBackend, client: FlaskClient
) -> None:
    for left, said in ((None, False), (75.2, True)):
        fake.jobs["job"] = job_view(JobState.RUNNING, JobStage.RENDERING, seconds_left=left)
        for path in ("/jobs/job", "/jobs"):
            assert ("about 1 min 15 s left" in client.get(path).text) is said


def test_parts_without_a_face_are_told_in_seconds(fake: FakeBackend, client: FlaskClient) -> None:
    job = job_view(JobState.SUCCEEDED, JobStage.DONE)
    assert job.report
    ranges = (FrameRange(first=0, last=24), FrameRange(first=1550, last=1600))
    report = job.report.model_copy(update={"frames_without_face": ranges})
    fake.jobs["job"] = job.model_copy(update={"report": report})
    assert "no face from 0.0 s to 1.0 s, from 1:02.0 to 1:04.0;" in client.get("/jobs/job").text


def test_attempts_that_failed_are_told(fake: FakeBackend, client: FlaskClient) -> None:
    attempt = FailedAttempt(
        at=datetime.now(UTC), gpu_host="Colab", error=EngineError("it ran out of memory").body()
    )
    for state in (JobState.RUNNING, JobState.SUCCEEDED):
        fake.jobs["job"] = job_view(
            state, JobStage.RENDERING, attempts=(attempt,), gpu_host="This computer"
        )
        page = client.get("/jobs/job").text
        assert "It ran out of memory." in page
        assert "Colab, just now" in page
        assert "This computer" in page


def test_a_video_that_was_removed_is_not_offered(fake: FakeBackend, client: FlaskClient) -> None:
    fake.jobs["job"] = job_view(JobState.SUCCEEDED, JobStage.DONE, id="job", expired=True)
    page = client.get("/jobs/job").text
    assert "The video has been removed" in page
    assert "/jobs/job/video" not in page
    listed = client.get("/jobs").text
    assert "Removed to make room" in listed
    assert "/jobs/job/poster" not in listed


@pytest.mark.parametrize("act", ["cancel", "retry", "delete"])
def test_nothing_is_done_for_a_foreign_page(
    fake: FakeBackend, client: FlaskClient, act: str
) -> None:
    fake.jobs["job"] = job_view(JobState.RUNNING, JobStage.RENDERING, id="job")
    assert client.post(f"/jobs/job/{act}").status_code == 400
    assert fake.jobs["job"].state is JobState.RUNNING


def test_what_was_asked_for_leads_back_to_where_it_was_asked(
    fake: FakeBackend, client: FlaskClient, token: str
) -> None:
    fake.jobs["job"] = job_view(JobState.RUNNING, JobStage.RENDERING, id="job")
    form = {"csrf_token": token}
    answer = client.post("/jobs/job/cancel", data=form)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/jobs/job")
    # Asked a second time, as by another window, nothing is wrong: it is as it was wished.
    answer = client.post("/jobs/job/cancel", data={**form, "back": "list"})
    assert (answer.status_code, answer.headers["Location"]) == (303, "/jobs")
    assert client.post("/jobs/job/retry", data=form).status_code == 303
    assert fake.jobs["job"].state is JobState.QUEUED
    assert client.post("/jobs/job/retry", data=form).status_code == 303
    for _ in range(2):
        answer = client.post("/jobs/job/delete", data=form)
        assert (answer.status_code, answer.headers["Location"]) == (303, "/jobs")
    assert fake.jobs == {}
    assert client.post("/jobs/job/cancel", data=form).status_code == 404


def test_a_script_is_told_what_has_become_of_the_job(
    fake: FakeBackend, client: FlaskClient, token: str
) -> None:
    fake.jobs["job"] = job_view(JobState.RUNNING, JobStage.RENDERING, id="job")
    asked = {"data": {"csrf_token": token}, "headers": {"Accept": "application/json"}}
    assert client.post("/jobs/job/cancel", **asked).json["state"] == "cancelled"
    assert client.post("/jobs/job/delete", **asked).json == {"location": "/jobs"}


def test_the_list_shows_what_there_is_newest_first(fake: FakeBackend, client: FlaskClient) -> None:
    assert "Nothing has been made yet." in client.get("/jobs").text
    for number in range(21):
        name = f"job{number}"
        fake.jobs[name] = job_view(JobState.SUCCEEDED, JobStage.DONE, id=name)
    page = client.get("/jobs").text
    assert re.findall(r'data-row="([^"]*)"', page)[::19] == ["job20", "job1"]
    older = re.search(r'href="(/jobs\?cursor=[^"]*)"', page)
    assert older
    page = client.get(older[1]).text
    assert re.findall(r'data-row="([^"]*)"', page) == ["job0"]
    assert "Newest" in page


def test_a_poster_and_a_stream_pass_through(fake: FakeBackend, client: FlaskClient) -> None:
    fake.jobs["job"] = job_view(JobState.RUNNING, JobStage.RENDERING, id="job", stream=1)
    fake.posters["job"] = b"a picture"
    answer = client.get("/jobs/job/poster")
    assert (answer.data, answer.mimetype) == (b"a picture", "image/jpeg")


def test_the_job_for_scripts_is_as_the_backend_shows_it(
    fake: FakeBackend, client: FlaskClient
) -> None:
    fake.jobs["job"] = job_view(JobState.RUNNING, JobStage.SPEAKING)
    assert client.get("/jobs/job.json").json == fake.jobs["job"].model_dump(mode="json")


def test_a_job_that_is_not_there_is_an_error_page(client: FlaskClient) -> None:
    page = client.get("/jobs/none")
    assert page.status_code == 404
    assert "There is no such job" in page.text


def test_sending_the_files_is_a_step_only_of_jobs_that_do_it(
    fake: FakeBackend, client: FlaskClient
) -> None:
    sending = words.STAGES[JobStage.UPLOADING]
    fake.jobs["near"] = job_view(JobState.RUNNING, JobStage.RENDERING)
    fake.jobs["far"] = job_view(JobState.RUNNING, JobStage.RENDERING, stage_seconds={"upload": 4.2})
    assert sending not in client.get("/jobs/near").text
    assert f'<li class="past">{sending}</li>' in client.get("/jobs/far").text
