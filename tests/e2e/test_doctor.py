"""Faults that are planted in a machine, and what `doctor` says of them: the real programs, with
stand-ins at the machine's edges alone."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from contracts.doctor.findings import Finding, from_json
from tests.planted import FAULTS, TOKEN, Machine, machine
from tools.doctor import findings
from tools.environment import Environment

pytestmark = pytest.mark.slow


@pytest.fixture
def healthy(tmp_path: Path) -> Iterator[Machine]:
    with machine(tmp_path) as made:
        yield made


def faults(found: list[Finding]) -> list[Finding]:
    return [each for each in found if each.state == "fault"]


def seen_by_run(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> list[Finding]:
    """What run.py finds."""
    with monkeypatch.context() as patch:
        for name in set(os.environ) - machine.environment.keys():
            patch.delenv(name)
        for name, value in machine.environment.items():
            patch.setenv(name, value)
        return findings(Environment(machine.project), machine.usage)


def seen_by(service: str, machine: Machine) -> list[Finding]:
    """What the service's own doctor finds."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", service, "doctor", "--json"],
        cwd=machine.project,
        env=machine.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    found = from_json(done.stdout)
    assert done.returncode == bool(faults(found)), done.stderr
    return found


def test_a_machine_on_which_nothing_is_wrong_has_no_fault(
    healthy: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for found in (
        seen_by_run(healthy, monkeypatch),
        seen_by("backend", healthy),
        seen_by("gpu_service", healthy),
    ):
        assert faults(found) == []
        assert all(each.what for each in found)


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_the_one_that_is_found(
    name: str, healthy: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted = FAULTS[name]
    planted.plant(healthy)
    found = (
        seen_by_run(healthy, monkeypatch)
        if planted.seen_by == "run.py"
        else seen_by(planted.seen_by, healthy)
    )
    (fault,) = faults(found)
    assert fault.topic == planted.topic
    assert planted.what in fault.what
    assert planted.fix in fault.fix
    assert fault.why


def test_all_planted_together_are_all_found(
    healthy: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for planted in FAULTS.values():
        planted.plant(healthy)
    found = faults(seen_by_run(healthy, monkeypatch))
    for planted in FAULTS.values():
        (_,) = [
            each
            for each in found
            if each.topic == planted.topic and planted.what in each.what and planted.fix in each.fix
        ]
    assert len(found) == len(FAULTS) >= 12
    assert TOKEN not in str(found)
