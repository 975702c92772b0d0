import json
import subprocess
import sys
from pathlib import Path

import pytest

from contracts.doctor.command import Doctor
from contracts.doctor.findings import Finding, fault, well
from tools.environment import ROOT


def look(machine: bool) -> list[Finding]:
    return [well("machine", str(machine)), fault("tower", "it leans", "It could fall.", "hold it")]


def broken(machine: bool) -> list[Finding]:
    raise ImportError("libGL.so.1: cannot open shared object file")


def test_the_doctor_needs_no_package() -> None:
    program = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "import backend.doctor, gpu_service.doctor, tools.doctor\n"
        "print(sorted({'pydantic', 'numpy', 'requests'} & sys.modules.keys()))"
    )
    command = [sys.executable, "-I", "-S", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_faults_are_printed_and_make_the_exit_status(capsys: pytest.CaptureFixture[str]) -> None:
    assert Doctor("gpu_service", "GPU host", look).run([]) == 1
    said = capsys.readouterr().out
    assert "FAULT  tower       it leans" in said
    assert "fix: hold it" in said
    assert "ok     machine     True" in said
    assert "as in requirements/gpu_service.txt" in said


def test_for_run_py_the_machine_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    assert Doctor("gpu_service", "GPU host", look).run(["--service", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)["findings"]
    assert [(each["topic"], each["what"]) for each in found] == [
        ("machine", "False"),
        ("tower", "it leans"),
    ]


def test_a_program_that_cannot_be_imported_is_a_fault_of_the_packages() -> None:
    *_, found = Doctor("gpu_service", "GPU host", broken).findings()
    assert (found.topic, found.state) == ("packages", "fault")
    assert "libGL.so.1" in found.what
    assert "pip install" in found.fix
    assert "requirements/gpu_service.txt" in found.fix


def test_where_the_packages_are_wrong_that_alone_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "requirements").mkdir()
    (tmp_path / "requirements" / "gpu_service.txt").write_text("nowhere==1.0 \\\n")
    monkeypatch.setattr("contracts.doctor.command.ROOT", tmp_path)
    found = Doctor("gpu_service", "GPU host", broken).findings()
    assert [each.what for each in found if each.state == "fault"] == ["nowhere 1.0 is missing"]


def test_a_host_without_its_lock_is_not_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("contracts.doctor.command.ROOT", tmp_path)
    packages = Doctor("gpu_service", "GPU host", look).findings()[1]
    assert packages.state == "ok"
    assert "not compared" in packages.what
