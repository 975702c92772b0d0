from pathlib import Path

import pytest

from backend.doctor.service import look_at_service
from contracts.doctor.findings import Finding
from tests.fakes.gpu_host import gpu_host
from tools.services import free_ports

GOOD = "Fs7-nobody-guesses-it-9qX"


@pytest.fixture(autouse=True)
def configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A backend whose settings are all as they should be."""
    monkeypatch.chdir(tmp_path)
    with gpu_host() as host:
        for name, value in {
            "BACKEND_GTTS": "false",
            "BACKEND_GPU_URL": host.url,
            "BACKEND_PORT": str(free_ports()["backend"]),
            "BACKEND_DATA_DIR": str(tmp_path / "data"),
        }.items():
            monkeypatch.setenv(name, value)
        monkeypatch.delenv("BACKEND_TOKEN", raising=False)
        yield


def states(found: list[Finding], topic: str) -> list[str]:
    return [each.state for each in found if each.topic == topic]


def test_a_backend_with_nothing_wrong_has_no_fault() -> None:
    found = look_at_service(machine=True)
    assert [each for each in found if each.state == "fault"] == []
    assert states(found, "ports") == ["ok"]
    assert states(found, "disk") == ["ok"]


def test_what_run_py_looks_at_is_left_out_for_it() -> None:
    topics = {each.topic for each in look_at_service(machine=False)}
    assert not {"ports", "disk", "memory"} & topics
    assert {"settings", "token", "data", "voices", "hosts"} <= topics


@pytest.mark.parametrize(
    ("host", "token", "state"),
    [
        ("127.0.0.1", "", "ok"),
        ("127.0.0.1", "hunter2", "ok"),  # others can't come near
        ("backend.example", "hunter2", "fault"),
        ("backend.example", GOOD, "ok"),
    ],
)
def test_a_token_must_be_hard_to_guess(
    monkeypatch: pytest.MonkeyPatch, host: str, token: str, state: str
) -> None:
    monkeypatch.setenv("BACKEND_HOST", host)
    monkeypatch.setenv("BACKEND_TOKEN", token)
    found = look_at_service(machine=False)
    assert states(found, "token") == [state]
    assert "hunter2" not in str(found)
