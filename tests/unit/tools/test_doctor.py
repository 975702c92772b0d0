import socket
import sys
from pathlib import Path

import pytest

from tools.doctor import Finding, doctor, findings
from tools.environment import Environment


class Whole(Environment):
    """An environment with every package: the one that runs the tests."""

    def __init__(self) -> None:
        super().__init__()
        self.python = Path(sys.executable)

    def differences(self, name: str) -> list[str]:
        return []


def test_a_machine_with_all_that_is_needed_has_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tools.doctor.port_is_free", lambda port: True)
    found = list(findings(Whole()))
    assert [finding for finding in found if finding.fix] == []
    assert any("espeak" in finding.what for finding in found)
    assert any("facewarp" in finding.what for finding in found)


def test_a_port_in_use_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        monkeypatch.setenv("FRONTEND_PORT", str(port))
        (fault,) = [each for each in findings(Environment(tmp_path)) if str(port) in each.what]
    assert fault.what.endswith("is in use")
    assert f"up --frontend-port {port + 1}" in fault.fix


def test_without_an_environment_the_first_command_is_the_fix(tmp_path: Path) -> None:
    *_, last = findings(Environment(tmp_path))
    assert last.fix == "python3 run.py demo"


def test_a_setting_that_cannot_be_is_the_fault_and_not_the_packages(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("BACKEND_WORKERS", "many")
    voice = next(each for each in findings(Whole()) if each.what.startswith("offline voice"))
    assert "BACKEND_WORKERS: Input should be a valid integer" in voice.what
    assert voice.fix == "correct the setting in .env or in the environment"


def test_a_fault_is_counted_and_told_with_its_fix(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told = [Finding("the moon is up"), Finding("the disk is full", "free 2 GB")]
    monkeypatch.setattr("tools.doctor.findings", lambda: iter(told))
    assert doctor() == 1
    assert capsys.readouterr().out == (
        "ok    the moon is up\nFAULT the disk is full\n      fix: free 2 GB\n\n1 fault\n"
    )
