"""Requests made up from the backend's own description, good and bad: it does what it says there."""

import json
import random
import socket

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi import checks

from backend.app import create_app
from backend.gpu.hosts import FIXED_ID
from backend.jobs.job import Job
from backend.settings import Settings
from contracts.catalogue import catalogue
from contracts.hosts import FoundGpuHosts, GpuHostView, is_loopback
from contracts.jobs import JobState, JobView
from contracts.problem import PROBLEM_JSON, ErrorBody
from tests.fakes.gpu_host import gpu_host
from tests.fakes.tiny_video import tiny_fragments
from tests.fakes.uploads import photo, tone
from tests.fakes.watched_backend import watched_backend

NUM_EXAMPLES = 40
KNOWN = {
    "POST /generate-from-text": {
        "image": photo(), "text": "Hello.", "voice": "", "language": "", "callback_url": "",
    },
    "POST /generate-from-audio": {"image": photo(), "audio": tone(0.1), "callback_url": ""},
    "POST /gpu-hosts": {"connection": "lipsync://token@127.0.0.1:9", "url": ""},
}  # fmt: skip
"""What no description can lead to: files of the right kind, voices and hosts that are there."""
ANSWER_SECONDS = 30
"""Every stream that is asked for here is one of a job that ends by itself."""
EXCLUDED = [
    not_a_server_error,  # GPU hosts may be away: `check` below is told which 5xx there may be
    checks.negative_data_rejection,  # a form's field may be left empty, and means the default then
    checks.positive_data_acceptance,  # a schema can't say what is a picture of a face
    checks.unsupported_method,  # HEAD is served beside GET
]
_api = schemathesis.openapi.from_dict(create_app(Settings(_env_file=None)).openapi())  # type: ignore[call-arg]
_operations = {operation.ok().label: operation.ok() for operation in _api.get_all_operations()}
# Any text may stand in a path, so that nothing there can be wrong by its form.
_trials = [
    pytest.param(label, mode, id=f"{label}-{mode.value}")
    for label, operation in sorted(_operations.items(), key=lambda each: "DELETE" in each[0])
    for mode in GenerationMode
    if mode is GenerationMode.POSITIVE or operation.body or operation.query
]


@pytest.fixture(scope="module", autouse=True)
def only_loopback():
    """Addresses that are made up are asked for by nobody."""
    connect, look_up = socket.socket.connect, socket.getaddrinfo

    def guarded_connect(self, address):
        if self.family != socket.AF_UNIX and not is_loopback(address[0]):
            raise ConnectionRefusedError(f"{address} is not this machine")
        return connect(self, address)

    def guarded_look_up(host, *args, **kwargs):
        name = host.decode() if isinstance(host, bytes) else host
        if name is not None and not is_loopback(name):
            raise socket.gaierror(socket.EAI_NONAME, "not this machine")
        return look_up(host, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", guarded_connect)
        patch.setattr(socket, "getaddrinfo", guarded_look_up)
        yield


@pytest.fixture(scope="module")
def backend(tmp_path_factory):
    data_dir = tmp_path_factory.mktemp("backend")
    with (
        gpu_host() as host,
        watched_backend(data_dir, gpu_url=host.url, max_queue=1000, webhook_secret="x") as backend,
    ):
        yield backend


@pytest.fixture(scope="module")
def job_ids(backend):
    """Jobs in every state in which they stay, and some that have lost their media."""
    job_ids = [backend.finished(tiny_fragments()) for _ in range(5)]
    for job_id in job_ids:
        backend.media(job_id).video.write_bytes(tiny_fragments())
        backend.media(job_id).face.write_bytes(photo())
    backend.services.jobs.update(job_ids[0], Job.expire)
    for state in (JobState.FAILED, JobState.CANCELLED):
        for _ in range(5):
            job_id = backend.job(state)
            backend.media(job_id).face.write_bytes(photo())
            backend.media(job_id).speech.write_bytes(tone(0.1))
            job_ids.append(job_id)
    return job_ids


@pytest.mark.parametrize(("label", "mode"), _trials)
def test_the_backend_does_what_its_description_says(backend, job_ids, label, mode):
    operation = _operations[label]
    chance = random.Random(label)  # noqa: S311

    @seed(4)
    @settings(
        max_examples=NUM_EXAMPLES,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode), known=st.booleans())
    def tried(case, known):
        if known:
            for name, ids in (("job_id", job_ids), ("host_id", [FIXED_ID])):
                if name in case.path_parameters:
                    case.path_parameters[name] = chance.choice(ids)
            if isinstance(case.body, dict):
                case.body.update(KNOWN.get(label, {}))
        check(case, case.call(base_url=backend.url, timeout=ANSWER_SECONDS))

    tried()


def check(case, response):
    case.validate_response(response, excluded_checks=EXCLUDED)
    if response.status_code >= 400:
        assert response.headers["content-type"] == [PROBLEM_JSON]
        body = ErrorBody.model_validate(response.json())
        assert body.status == response.status_code
        assert body.code in catalogue()
        assert body.code != "INTERNAL"
        assert body.detail
        assert body.hint
        assert body.request_id
    if response.status_code in (429, 503):
        assert int(response.headers["retry-after"][0]) > 0


def test_every_door_is_there_and_no_other():
    assert set(_operations) == {
        *("POST /generate-from-text", "POST /generate-from-audio", "GET /jobs"),
        *("GET /jobs/{job_id}", "DELETE /jobs/{job_id}"),
        *("POST /jobs/{job_id}/cancel", "POST /jobs/{job_id}/retry"),
        *(f"GET /jobs/{{job_id}}/{what}" for what in ("events", "stream", "video", "poster")),
        *("GET /gpu-hosts", "POST /gpu-hosts", "DELETE /gpu-hosts/{host_id}"),
        "GET /gpu-hosts/found",
        *("GET /voices", "GET /engines", "GET /errors", "GET /version", "GET /metrics"),
        *("GET /health/live", "GET /health/ready"),
    }


def test_every_operation_says_what_it_is_for_and_which_problems_it_has():
    for label, operation in _operations.items():
        described = operation.definition.raw
        assert described.get("description") or described.get("summary"), label
        problems = {
            status: answer
            for status, answer in described["responses"].items()
            if int(status) >= 400
        }
        assert {"403", "500"} <= problems.keys(), label
        assert ("401" in problems) is ("/health/" not in label), label
        for answer in problems.values():
            assert list(answer["content"]) == [PROBLEM_JSON], label


def test_only_this_machine_is_asked():
    with pytest.raises(OSError, match="not this machine"):
        socket.create_connection(("192.0.2.1", 80), 5)
    with pytest.raises(OSError, match="not this machine"):
        socket.create_connection(("host.example", 80), 5)


def test_the_example_of_a_job_is_a_job():
    described = json.loads(json.dumps(_api.raw_schema))["components"]["schemas"]["JobView"]
    (example,) = described["examples"]
    assert JobView.model_validate(example).state is JobState.RUNNING
    assert example.keys() <= described["properties"].keys()


def test_the_example_of_a_gpu_host_and_of_what_is_found_are_such():
    described = json.loads(json.dumps(_api.raw_schema))["components"]["schemas"]
    for model in (GpuHostView, FoundGpuHosts):
        (example,) = described[model.__name__]["examples"]
        assert model.model_validate(example)
        assert example.keys() <= described[model.__name__]["properties"].keys()
