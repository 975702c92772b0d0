"""Engines by name."""

import threading

import pytest

from contracts.errors import EngineNotFound, EngineUnavailable
from gpu_service.engines.registry import ENGINES, Engines
from tests.fakes.engine import CountingEngine

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


@pytest.mark.parametrize("name", ENGINES)
def test_every_engine_of_ours_loads_and_is_called_as_it_is_named(name: str) -> None:
    assert Engines((), ENGINES).resolve(name).info.name == name
