import pytest
import requests

from contracts.hosts import GpuHostView
from tests.fakes.gpu_host import gpu_host
from tests.fakes.watched_backend import NO_GPU, watched_backend

TOKEN = "canary-77"


@pytest.fixture
def backend(tmp_path):
    with watched_backend(tmp_path) as backend:
        yield backend


@pytest.fixture
def host():
    with gpu_host(token=TOKEN) as host:
        yield host


def add(backend, **new):
    return requests.post(backend.url + "/gpu-hosts", json=new)


def listed(backend):
    answer = requests.get(backend.url + "/gpu-hosts")
    assert TOKEN not in answer.text
    return [GpuHostView.model_validate(each) for each in answer.json()]


def code_of(answer):
    return answer.status_code, answer.json()["code"]


def test_a_host_is_added_with_a_connection_string_used_and_removed(backend, host):
    (fixed,) = listed(backend)
    assert (fixed.url, fixed.fixed, fixed.healthy) == (NO_GPU, True, False)
    assert requests.get(backend.url + "/health/ready").status_code == 503
    connection = f"lipsync://{TOKEN}@{host.url.removeprefix('http://')}"
    answer = add(backend, connection=connection, name="Colab")
    assert answer.status_code == 201
    assert TOKEN not in answer.text
    added = GpuHostView.model_validate(answer.json())
    assert (added.name, added.url, added.healthy) == ("Colab", host.url, True)
    assert [engine.info.name for engine in added.engines] == ["counting"]
    assert answer.headers["Location"] == f"/gpu-hosts/{added.id}"
    assert [each.id for each in listed(backend)] == [fixed.id, added.id]
    ready = requests.get(backend.url + "/health/ready").json()
    assert (ready["gpu_host"], ready["engines"]) == (host.url, ["counting"])
    assert requests.get(backend.url + "/engines").json()[0]["info"]["name"] == "counting"
    assert code_of(add(backend, url=host.url)) == (409, "CONFLICT")
    gone = requests.delete(f"{backend.url}/gpu-hosts/{added.id}")
    assert (gone.status_code, gone.content) == (204, b"")
    assert [each.id for each in listed(backend)] == [fixed.id]
    again = requests.delete(f"{backend.url}/gpu-hosts/{added.id}")
    assert code_of(again) == (404, "GPU_HOST_NOT_FOUND")


def test_a_restarted_hosts_connection_string_is_pasted_over_the_old_one(backend, host):
    where = host.url.removeprefix("http://")
    host.token = "canary-77-new"
    old = add(backend, connection=f"lipsync://{TOKEN}@{where}", name="Colab")
    assert (old.status_code, old.json()["error"]["code"]) == (201, "GPU_REFUSED")
    assert "connection string" in old.json()["error"]["hint"]
    new = add(backend, connection=f"lipsync://{host.token}@{where}")
    assert new.status_code == 200
    assert new.headers["Location"] == f"/gpu-hosts/{old.json()['id']}"
    view = GpuHostView.model_validate(new.json())
    assert (view.name, view.healthy, view.error) == ("Colab", True, None)
    assert len(listed(backend)) == 2


def test_the_card_counts_what_has_passed(backend, host):
    add(backend, url=host.url, token=TOKEN)
    usage = listed(backend)[1].usage
    assert usage.requests >= 2
    assert usage.sent_bytes > 300
    assert usage.received_bytes > len(TOKEN)


def test_the_host_of_the_settings_stays(backend):
    (fixed,) = listed(backend)
    answer = requests.delete(f"{backend.url}/gpu-hosts/{fixed.id}")
    assert code_of(answer) == (409, "CONFLICT")
    assert "BACKEND_GPU_URL" in answer.json()["detail"]


@pytest.mark.parametrize(
    "new",
    [
        {},
        {"connection": "http://host.example"},
        {"url": "host.example"},
        {"url": "file:///etc/passwd"},
        {"url": "http://host.example", "token": TOKEN},
        {"connection": "lipsync://a@host.example", "url": "https://host.example"},
        {"url": "https://host.example", "token": f"{TOKEN}\r\nX-Evil: 1"},
        {"url": "https://host.example", "name": "x" * 61},
    ],
)
def test_what_is_no_host_is_refused_and_no_token_is_told(backend, new):
    answer = add(backend, **new)
    assert code_of(answer) == (422, "INVALID_INPUT")
    assert answer.json()["hint"]
    assert TOKEN not in answer.text
    assert len(listed(backend)) == 1
