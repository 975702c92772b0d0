"""Engines by name."""

import threading
from pathlib import Path
from types import ModuleType
from typing import ClassVar

import pytest

from contracts.errors import (
    CheckpointMismatch,
    CheckpointMissing,
    EngineNotFound,
    EngineUnavailable,
)
from gpu_service.engines.registry import ENGINES, Engines, engines_for
from gpu_service.weights.registry import weights_named
from gpu_service.weights.store import WeightsStore
from tests.fakes.engine import CountingEngine
from tests.fakes.generator import installed
from tests.parity_weights import seeded_checkpoint

COUNTING = {"counting": "tests.fakes.engine:CountingEngine"}
BROKEN = {"broken": "gpu_service.no_such_module:Engine"}


def test_auto_takes_the_first_of_the_order_that_is_ready() -> None:
    engines = Engines(("missing", "broken", "counting"), BROKEN | COUNTING)
    assert isinstance(engines.resolve("auto"), CountingEngine)


def test_auto_says_why_none_is_ready() -> None:
    with pytest.raises(EngineUnavailable, match=r"broken: .*no_such_module"):
        Engines(("broken",), BROKEN).resolve("auto")


def test_auto_with_an_empty_order_says_where_to_name_an_engine() -> None:
    with pytest.raises(EngineUnavailable) as refused:
        Engines((), COUNTING).resolve("auto")
    assert "GPU_ENGINE_ORDER" in refused.value.hint


def test_an_unknown_name_is_not_found() -> None:
    with pytest.raises(EngineNotFound, match="dream"):
        Engines((), COUNTING).resolve("dream")


def test_an_engine_whose_library_is_missing_says_how_to_install_it() -> None:
    engines = Engines((), BROKEN | COUNTING)
    with pytest.raises(EngineUnavailable) as refused:
        engines.resolve("broken")
    assert "pip install" in refused.value.hint
    broken, counting = engines.statuses()
    assert (broken.info.name, broken.ready, counting.ready) == ("broken", False, True)
    assert "no_such_module" in broken.reason
    assert "pip install" in broken.reason


class Unlinked:
    """An engine whose library is installed, and fails when it is imported."""

    info = CountingEngine.info.model_copy(update={"name": "unlinked", "needs": ("a library",)})
    failure: ClassVar[Exception]

    def __init__(self, weights: WeightsStore, device: str) -> None:
        raise self.failure


@pytest.mark.parametrize("kind", [ImportError, OSError])
def test_a_library_that_is_broken_hurts_no_other_engine(
    kind: type[Exception],
) -> None:
    Unlinked.failure = kind("libcublas.so.12: cannot open shared object file")
    engines = Engines(("unlinked", "counting"), {"unlinked": f"{__name__}:Unlinked"} | COUNTING)
    assert isinstance(engines.resolve("auto"), CountingEngine)
    unlinked, counting = engines.statuses()
    assert (unlinked.info.name, unlinked.ready, counting.ready) == ("unlinked", False, True)
    assert "libcublas" in unlinked.reason


def test_an_engine_is_loaded_once_though_many_ask_at_once() -> None:
    engines = Engines((), COUNTING)
    found: list[object] = []
    gate = threading.Barrier(8)

    def ask() -> None:
        gate.wait()
        found.append(engines.resolve("counting"))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len({id(engine) for engine in found}) == 1


def test_every_engine_of_ours_can_be_imported_and_is_called_as_it_is_named(
    tmp_path: Path,
) -> None:
    statuses = Engines((), ENGINES, tmp_path).statuses()
    assert [status.info.name for status in statuses] == list(ENGINES)
    assert all(status.info.version for status in statuses)
    assert [status.info.name for status in statuses if status.ready] == ["facewarp"]


def test_an_engine_is_found_once_its_weights_are_there_and_fit(
    tmp_path: Path, torch: ModuleType
) -> None:
    engines = Engines(("wav2lip", "facewarp"), ENGINES, tmp_path, "cpu")
    assert engines.resolve("auto").info.name == "facewarp"
    with pytest.raises(CheckpointMissing) as refused:
        engines.resolve("wav2lip")
    assert "weights add" in refused.value.hint
    store = installed(tmp_path, "wav2lip")
    assert engines.resolve("auto").info.name == "facewarp"
    with pytest.raises(CheckpointMismatch):
        engines.resolve("wav2lip")
    seeded_checkpoint(tmp_path / "seeded.pth")
    store.add(tmp_path / "seeded.pth", weights_named("wav2lip"), lambda *_: None, accepted=True)
    assert engines.resolve("auto").info.name == "wav2lip"
    assert [(s.ready, s.device) for s in engines.statuses()] == [(True, "cpu"), (True, "cpu")]


def test_auto_prefers_an_engine_that_animates_this_kind_of_face() -> None:
    engines = Engines(("facewarp", "counting"), ENGINES | COUNTING)
    assert engines.resolve("auto", "photo").info.name == "facewarp"
    assert engines.resolve("auto", "video").info.name == "counting"
    # So that the face is looked into, and the error says what it is and what would animate it.
    assert Engines(("facewarp",)).resolve("auto", "video").info.name == "facewarp"
    assert engines_for("video") == ("wav2lip",)
