import json
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from contracts.doctor.findings import Finding
from tools import doctor as module
from tools.commands import run
from tools.doctor import doctor, findings
from tools.environment import ROOT, SETS, Environment


class Whole(Environment):
    """An environment with every package: the one that runs the tests."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.python = Path(sys.executable)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose services say nothing, so that the machine alone is looked at."""
    (tmp_path / "requirements").mkdir()
    for name in SETS["default"]:
        (tmp_path / "requirements" / f"{name}.txt").write_text("")
    services(monkeypatch, {"backend": 'print(\'{"version": 1, "findings": []}\')'})
    for name in ("FRONTEND_BACKEND_TOKEN", "BACKEND_TOKEN", "BACKEND_GPU_TOKEN", "GPU_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def services(monkeypatch: pytest.MonkeyPatch, programs: Mapping[str, str]) -> None:
    """What the services' own doctors are, as programs of Python."""
    monkeypatch.setattr(module, "_SERVICES", {name: ["-c", it] for name, it in programs.items()})


def faults(found: list[Finding]) -> list[Finding]:
    return [each for each in found if each.state == "fault"]


def test_what_a_service_finds_is_told_with_the_rest(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = '{"topic": "voices", "state": "fault", "what": "mute", "why": "w", "fix": "f"}'
    services(monkeypatch, {"backend": f'print(\'{{"version": 1, "findings": [{one}]}}\')'})
    found = findings(Whole(project))
    assert found[-1] == Finding("voices", "fault", "mute", "w", "f")
    assert {"python", "system", "disk", "ports", "packages"} <= {each.topic for each in found}


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("import nowhere_to_be_found", "No module named 'nowhere_to_be_found'"),
        ("print('hello')", "hello"),
        ("import os; os.abort()", "exit status -"),
    ],
)
def test_a_service_that_cannot_be_asked_is_a_fault(
    project: Path, monkeypatch: pytest.MonkeyPatch, program: str, words: str
) -> None:
    services(monkeypatch, {"GPU host": program})
    (fault,) = faults(findings(Whole(project)))
    assert fault.what.startswith("the GPU host could not be asked: ")
    assert words in fault.what
    assert fault.fix.endswith("python3 run.py demo")


def test_nothing_is_removed_since_a_service_takes_long(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ASK_SECONDS", 1.0)
    services(monkeypatch, {"GPU host": "import threading; threading.Event().wait()"})
    (fault,) = faults(findings(Whole(project)))
    assert fault.what == "the GPU host could not be asked: it had not ended after 1 s"
    assert fault.fix.startswith("python3 run.py doctor ")


def test_where_packages_are_missing_that_alone_is_the_fault(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    services(monkeypatch, {"backend": "import nowhere_to_be_found"})
    (project / "requirements" / "backend.txt").write_text("nowhere-to-be-found==1.0 \\\n")
    found = findings(Whole(project))
    (fault,) = faults(found)
    assert fault.what == "nowhere-to-be-found 1.0 is missing"
    assert found[-1].state == "note", "that the backend could not be asked is still said"


def test_without_an_environment_the_first_command_is_the_fix(project: Path) -> None:
    (fault,) = faults(findings(Environment(project)))
    assert fault.topic == "packages"
    assert fault.fix == "python3 run.py demo"


def test_no_other_folder_is_removed_than_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tmp_path / "lipsync copy"
    (project / "requirements").mkdir(parents=True)
    for name in SETS["default"]:
        (project / "requirements" / f"{name}.txt").write_text("nowhere-to-be-found==1.0 \\\n")
    services(monkeypatch, {})
    (fault,) = faults(findings(Whole(project)))
    assert shlex.split(fault.fix)[:3] == ["rm", "-r", f"{project / '.venv'};"]


def test_ports_and_data_of_the_env_file_count(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("FRONTEND_PORT", "BACKEND_PORT", "GPU_PORT", "BACKEND_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)
    elsewhere = project / "elsewhere"
    (project / ".env").write_text(f"GPU_PORT=0\nBACKEND_DATA_DIR={elsewhere}\n")
    told = [each.what for each in findings(Whole(project))]
    assert "the GPU host takes a free one" in told
    assert any(str(elsewhere) in each for each in told)


@pytest.mark.parametrize(
    ("configured", "named"),
    [
        ({"BACKEND_TOKEN": "one", "FRONTEND_BACKEND_TOKEN": "one"}, None),
        ({"BACKEND_TOKEN": "one"}, None),  # `up` hands it to the frontend
        ({"BACKEND_TOKEN": "one", "FRONTEND_BACKEND_TOKEN": "two"}, "FRONTEND_BACKEND_TOKEN"),
        ({"GPU_TOKEN": "one", "BACKEND_GPU_TOKEN": "two"}, "BACKEND_GPU_TOKEN"),
        (
            {"GPU_TOKEN": "one", "BACKEND_GPU_TOKEN": "two", "BACKEND_GPU_URL": "https://a.b"},
            None,
        ),
    ],
)
def test_services_of_one_machine_must_have_the_same_token(
    project: Path, configured: dict[str, str], named: str | None
) -> None:
    (project / ".env").write_text("".join(f"{name}={it}\n" for name, it in configured.items()))
    found = faults(findings(Whole(project)))
    assert [each.fix.partition("=")[0] for each in found] == ([named] if named else [])
    assert "two" not in str(found)


def test_findings_are_printed_for_people_and_for_programs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told = [Finding("moon", "ok", "it is up"), Finding("disk", "fault", "full", "why", "free it")]
    monkeypatch.setattr("tools.doctor.findings", lambda: told)
    assert doctor(json=False) == 1
    assert "FAULT  disk        full" in capsys.readouterr().out
    assert run(["doctor", "--json"]) == 1
    assert [each["topic"] for each in json.loads(capsys.readouterr().out)["findings"]] == [
        "moon",
        "disk",
    ]


@pytest.mark.slow
def test_the_real_services_can_all_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKEND_GTTS", "false")
    found = findings(Whole(ROOT))
    topics = {each.topic for each in found}
    assert {"voices", "hosts", "engines", "cpu", "gpu", "tunnel", "data"} <= topics
    assert sum(each.topic == "settings" for each in found) == 3
