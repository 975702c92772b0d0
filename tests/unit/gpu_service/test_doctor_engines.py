from pathlib import Path

import pytest

from contracts.doctor.machine import this_python
from gpu_service.doctor import engines
from gpu_service.doctor.engines import look_at_engines
from gpu_service.doctor.ready import statuses
from gpu_service.doctor.service import look_at_service
from gpu_service.settings import Settings
from gpu_service.weights.registry import weights_named
from gpu_service.weights.store import WeightsStore


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the checkpoints are, for this process and those that it starts."""
    monkeypatch.setenv("GPU_WEIGHTS_DIR", str(tmp_path / "weights"))
    return tmp_path / "weights"


@pytest.fixture
def wrong_file(folder: Path) -> None:
    """A file that holds no weights, installed unseen."""
    file = folder.with_name("wav2lip_gan.pth")
    file.write_bytes(bytes(100))
    WeightsStore(folder).add(file, weights_named("wav2lip_gan"), lambda *_: None, accepted=True)


def test_each_engine_says_whether_it_is_ready() -> None:
    told = {each["name"]: each for each in statuses()}
    assert told["facewarp"] == {"name": "facewarp", "ready": True, "on": ""}
    assert not told["wav2lip"]["ready"]
    assert told["wav2lip"]["code"] == "CHECKPOINT_MISSING"


def test_a_checkpoint_that_auto_would_take_is_worth_having() -> None:
    found = look_at_engines(Settings())
    assert [(each.topic, each.state) for each in found] == [
        ("engines", "ok"),
        ("checkpoints", "note"),
    ]
    assert "facewarp is ready; `auto` takes it" in found[0].what
    assert "weights fetch wav2lip_gan" in found[1].fix
    assert "MB" in found[1].why
    assert "research" in found[1].why


def test_auto_without_an_engine_that_is_ready_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPU_ENGINE_ORDER", "wav2lip")
    faults = [each for each in look_at_engines(Settings()) if each.state == "fault"]
    assert [each.what for each in faults] == ["`auto` has no engine that is ready"]
    assert faults[0].fix == "GPU_ENGINE_ORDER=facewarp   # in the environment"


@pytest.mark.usefixtures("wrong_file")
def test_a_library_that_is_missing_is_installed_by_the_python_that_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As an import finds it that is not there.
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['torch'] = None\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (fault,) = [each for each in look_at_engines(Settings()) if each.state == "fault"]
    assert fault.what == "wav2lip is not ready: PyTorch is not installed"
    assert fault.fix == f"{this_python()} -m pip install torch==2.13.0"


@pytest.mark.usefixtures("wrong_file", "torch")
def test_a_checkpoint_of_something_else_is_a_fault_told_once() -> None:
    (fault,) = [each for each in look_at_engines(Settings()) if each.state == "fault"]
    assert "wav2lip is not ready" in fault.what
    assert fault.fix
    assert not [each for each in look_at_engines(Settings(), damaged=True) if each.state == "fault"]


def test_a_library_that_ends_the_process_is_a_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cv2.py").write_text("import os; os.abort()")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (found,) = look_at_engines(Settings())
    assert found.state == "fault"
    assert found.what.startswith("none can be loaded: exit status -")


def test_engines_that_load_for_ever_are_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cv2.py").write_text("import threading; threading.Event().wait()")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(engines, "ASK_SECONDS", 1.0)
    (found,) = look_at_engines(Settings())
    assert (found.state, found.what) == ("fault", "none can be loaded: not after 1 s")


def test_an_order_that_names_no_engine_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPU_ENGINE_ORDER", "wav2lipp,facewarp")
    faults = [each for each in look_at_service(machine=False) if each.state == "fault"]
    assert [each.topic for each in faults] == ["settings"]
    assert "names wav2lipp" in faults[0].what
    assert faults[0].fix.startswith("GPU_ENGINE_ORDER=facewarp ")
    assert "in the environment" in faults[0].fix, "which wins over .env"
