import io
import os

import pytest
import requests
from PIL import Image

from backend.jobs.job import Job
from backend.routes import jobs
from contracts.errors import RenderFailed
from contracts.jobs import JobPage, JobState, JobView
from tests.fakes.gpu_host import gpu_host
from tests.fakes.tiny_video import tiny_fragments
from tests.fakes.uploads import photo, tone
from tests.fakes.watched_backend import watched_backend


@pytest.fixture(scope="module")
def backend(tmp_path_factory):
    with watched_backend(tmp_path_factory.mktemp("backend")) as backend:
        yield backend


def code_of(answer):
    assert answer.headers["Content-Type"] == "application/problem+json"
    return answer.status_code, answer.json()["code"]


def state_of(backend, job_id):
    return JobView.model_validate_json(requests.get(f"{backend.url}/jobs/{job_id}").content).state


def uploaded(backend, **fields):
    job_id = backend.job(**fields)
    backend.media(job_id).face.write_bytes(photo())
    backend.media(job_id).speech.write_bytes(b"speech")
    return job_id


def test_jobs_are_listed_newest_first_in_pages(tmp_path):
    with watched_backend(tmp_path) as backend:
        job_ids = [backend.job(JobState.CANCELLED if i % 2 else JobState.FAILED) for i in range(5)]
        listed, cursor = [], None
        while True:
            answer = requests.get(backend.url + "/jobs", params={"limit": 2, "cursor": cursor})
            page = JobPage.model_validate_json(answer.content)
            listed += [job.id for job in page.jobs]
            assert len(page.jobs) == (2 if page.next_cursor else 1)
            cursor = page.next_cursor
            if cursor is None:
                break
        assert listed == job_ids[::-1]
        failed = requests.get(backend.url + "/jobs?state=failed").json()["jobs"]
        assert [job["id"] for job in failed] == job_ids[::2][::-1]
        both = requests.get(backend.url + "/jobs?state=failed&state=cancelled").json()["jobs"]
        assert len(both) == 5
        assert requests.get(backend.url + "/jobs?state=queued").json()["jobs"] == []


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=101", "limit=x", "state=done", "cursor=x", "cursor=" + "A" * 300]
)
def test_a_list_that_can_not_be_given_is_refused(backend, query):
    answer = requests.get(f"{backend.url}/jobs?{query}")
    assert code_of(answer) == (422, "INVALID_INPUT")
    assert query.partition("=")[0] in answer.json()["detail"]


def test_a_running_job_is_cancelled_once(backend):
    job_id = backend.job()
    answer = requests.post(f"{backend.url}/jobs/{job_id}/cancel")
    assert JobView.model_validate_json(answer.content).state is JobState.CANCELLED
    again = requests.post(f"{backend.url}/jobs/{job_id}/cancel")
    assert code_of(again) == (409, "JOB_ENDED")
    assert code_of(requests.post(backend.url + "/jobs/nobody/cancel")) == (404, "JOB_NOT_FOUND")


def test_only_a_failed_or_cancelled_job_is_retried(backend):
    job_id = uploaded(backend)
    retry = f"{backend.url}/jobs/{job_id}/retry"
    assert code_of(requests.post(retry)) == (409, "JOB_NOT_RETRIABLE")
    error = RenderFailed("no").body()
    backend.services.jobs.update(job_id, lambda job: job.fail(error))
    answer = requests.post(retry)
    assert answer.status_code == 202
    assert answer.headers["Location"] == f"/jobs/{job_id}"
    job = JobView.model_validate(answer.json())
    assert (job.state, job.error) == (JobState.QUEUED, None)
    assert code_of(requests.post(backend.url + "/jobs/nobody/retry")) == (404, "JOB_NOT_FOUND")


@pytest.mark.parametrize("gone", ["face", "speech"])
def test_a_job_whose_uploads_are_gone_is_not_retried(backend, gone):
    job_id = uploaded(backend)
    backend.services.jobs.update(job_id, Job.cancel)
    getattr(backend.media(job_id), gone).unlink()
    answer = requests.post(f"{backend.url}/jobs/{job_id}/retry")
    assert code_of(answer) == (410, "MEDIA_EXPIRED")
    assert state_of(backend, job_id) is JobState.CANCELLED


def test_a_retry_needs_a_place_in_the_queue(tmp_path):
    with watched_backend(tmp_path, max_queue=1) as backend:
        job_ids = [uploaded(backend) for _ in range(2)]
        for job_id in job_ids:
            backend.services.jobs.update(job_id, Job.cancel)
        first, second = (requests.post(f"{backend.url}/jobs/{each}/retry") for each in job_ids)
        assert first.status_code == 202
        assert code_of(second) == (429, "QUEUE_FULL")
        assert int(second.headers["Retry-After"]) > 0
        assert state_of(backend, job_ids[1]) is JobState.CANCELLED


def test_a_text_needs_no_recording_to_be_retried(backend):
    job_id = uploaded(backend, text="Hello.")
    backend.services.jobs.update(job_id, Job.cancel)
    backend.media(job_id).speech.unlink()
    assert requests.post(f"{backend.url}/jobs/{job_id}/retry").status_code == 202


def test_a_deleted_job_leaves_nothing_even_while_it_is_written(backend):
    job_id = uploaded(backend)
    ended = []
    backend.services.jobs.on_end.append(lambda _, job: ended.append(job.id))
    with backend.fragments(job_id) as stream:
        stream.begin(b"init")
        answer = requests.delete(f"{backend.url}/jobs/{job_id}")
        assert (answer.status_code, answer.content) == (204, b"")
        stream.close()
        with pytest.raises(FileNotFoundError):
            stream.start_over("again", "http://127.0.0.1:9")
    folder = backend.media(job_id).folder
    assert not folder.exists()
    assert not list(folder.parent.glob(".gone-*"))
    assert ended == [job_id]
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/video"), ("GET", "/poster")):
        answer = requests.request(method, f"{backend.url}/jobs/{job_id}{path}")
        assert code_of(answer) == (404, "JOB_NOT_FOUND")


def test_expired_media_are_gone_while_their_job_stays(backend):
    job_id = backend.finished(b"init", b"one")
    backend.services.jobs.update(job_id, Job.expire)
    for what in ("video", "stream", "poster"):
        answer = requests.get(f"{backend.url}/jobs/{job_id}/{what}")
        assert code_of(answer) == (410, "MEDIA_EXPIRED")
    assert requests.get(f"{backend.url}/jobs/{job_id}").json()["expired"] is True


@pytest.mark.skipif(os.name == "nt", reason="there, a file that is read can't be removed")
def test_a_download_that_has_begun_ends_well_though_its_video_is_removed(backend):
    job_id = backend.finished(b"init")
    whole = bytes(30_000_000)  # more than the buffers between here and there hold
    backend.media(job_id).video.write_bytes(whole)
    with requests.get(f"{backend.url}/jobs/{job_id}/video", stream=True) as answer:
        begin = answer.raw.read(10)
        assert requests.delete(f"{backend.url}/jobs/{job_id}").status_code == 204
        assert not backend.media(job_id).folder.exists()
        assert begin + answer.raw.read() == whole


def test_a_video_that_goes_just_when_it_is_sent_breaks_off(backend, monkeypatch, caplog):
    job_id = backend.finished(b"init")
    backend.media(job_id).video.write_bytes(b"a video")
    video_answer = jobs.video_answer

    def then_removed(job, services):
        answer = video_answer(job, services)
        services.media.remove(job.id)
        return answer

    monkeypatch.setattr(jobs, "video_answer", then_removed)
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        requests.get(f"{backend.url}/jobs/{job_id}/video")
    assert "Traceback" not in caplog.text
    monkeypatch.undo()
    answer = requests.get(f"{backend.url}/jobs/{job_id}/video")
    assert code_of(answer) == (410, "MEDIA_EXPIRED")


def test_a_poster_is_a_small_picture(backend):
    job_id = backend.job()
    assert code_of(requests.get(f"{backend.url}/jobs/{job_id}/poster")) == (409, "VIDEO_NOT_READY")
    backend.media(job_id).face.write_bytes(photo(size=(900, 1200)))
    answer = requests.get(f"{backend.url}/jobs/{job_id}/poster", headers={"Range": "furlongs=1"})
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "image/jpeg")
    assert answer.headers["Cache-Control"] == "no-store"
    with Image.open(io.BytesIO(answer.content)) as picture:
        assert (picture.format, picture.size) == ("JPEG", (384, 512))
    finished = backend.finished(tiny_fragments())
    answer = requests.get(f"{backend.url}/jobs/{finished}/poster")
    assert answer.headers["Cache-Control"] == "private, max-age=86400"


def test_heads_of_videos_and_posters_are_those_of_the_whole(backend):
    job_id = backend.finished(tiny_fragments())
    backend.media(job_id).video.write_bytes(tiny_fragments())
    for what in ("video", "poster"):
        url = f"{backend.url}/jobs/{job_id}/{what}"
        head, whole = requests.head(url), requests.get(url)
        assert (head.status_code, head.content) == (200, b"")
        for name in ("Content-Length", "Content-Type", "ETag", "Cache-Control"):
            assert head.headers.get(name) == whole.headers.get(name)
    assert requests.head(backend.url + "/jobs/nobody/video").status_code == 404


def test_a_request_that_is_repeated_after_its_video_has_expired_is_told_so(tmp_path):
    with gpu_host() as host, watched_backend(tmp_path, gpu_url=host.url) as backend:

        def ask():
            files = {"image": photo(), "audio": tone(0.2)}
            url = backend.url + "/generate-from-audio"
            return requests.post(url, files=files, headers={"Idempotency-Key": "once"})

        job_id = ask().headers["X-Job-Id"]
        backend.services.jobs.update(job_id, Job.expire)
        backend.services.media.remove(job_id)
        assert code_of(ask()) == (410, "MEDIA_EXPIRED")
