import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from backend.metrics import Metrics
from contracts.errors import RenderFailed
from contracts.jobs import JobState
from tests.fakes.gpu_host import gpu_host
from tests.fakes.running_backend import running_backend
from tests.fakes.uploads import photo, tone
from tests.fakes.watched_backend import watched_backend


def figures(text):
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def asked(url, **headers):
    answer = requests.get(url + "/metrics", headers=headers)
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    return figures(answer.text)


def test_what_a_video_took_is_counted(tmp_path):
    with gpu_host() as host, running_backend(tmp_path, host.url) as url:
        image, audio = photo(), tone(0.2)
        files = {"image": image, "audio": audio}
        answer = requests.post(url + "/generate-from-audio", files=files)
        found = asked(url)
        job_id = answer.headers["X-Job-Id"]
        assert job_id not in requests.get(url + "/metrics").text
        assert host.url not in requests.get(url + "/metrics").text
    assert found["lipsync_jobs", "succeeded"] == 1
    assert found["lipsync_jobs", "queued"] == found["lipsync_jobs", "running"] == 0
    assert found["lipsync_upload_bytes_total",] == len(image) + len(audio)
    assert found["lipsync_stage_seconds_count", "render"] == 1
    assert found["lipsync_stage_seconds_sum", "render"] == pytest.approx(0.5)
    assert found["lipsync_gpu_hosts", "healthy"] == 1
    assert found["lipsync_gpu_hosts", "failing"] == 0


def test_failures_are_counted_by_their_code(tmp_path):
    with watched_backend(tmp_path) as backend:
        error = RenderFailed("no").body()
        for _ in range(2):
            backend.services.jobs.update(backend.job(), lambda job: job.fail(error))
        backend.job(JobState.CANCELLED)
        found = asked(backend.url)
    assert found["lipsync_jobs_failed_total", "RENDER_FAILED"] == 2
    assert found["lipsync_jobs", "failed"] == 2
    assert found["lipsync_gpu_hosts", "failing"] == 1


def test_a_stage_that_only_a_host_knows_makes_no_label():
    metrics = Metrics()
    metrics.ended({"render": 1.0, "job 5c1f": 2.0}, None)
    text = metrics.text().decode()
    assert 'stage="other"' in text
    assert "5c1f" not in text


def test_two_apps_count_by_themselves():
    one, other = Metrics(), Metrics()
    one.upload_bytes.inc(7)
    assert figures(other.text().decode())["lipsync_upload_bytes_total",] == 0


def test_the_token_is_asked_for(tmp_path):
    with watched_backend(tmp_path, token="secret") as backend:
        assert requests.get(backend.url + "/metrics").status_code == 401
        assert asked(backend.url, Authorization="Bearer secret")
