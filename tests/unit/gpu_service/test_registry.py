"""Engines by name."""

import gc
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import pytest

from contracts.errors import (
    CheckpointMismatch,
    CheckpointMissing,
    EngineNotFound,
    EngineUnavailable,
)
from gpu_service.engines.registry import ENGINES, Engines, engines_for
from gpu_service.settings import Compute
from gpu_service.weights.registry import weights_named
from gpu_service.weights.store import WeightsStore
from tests.fakes.engine import CountingEngine
from tests.fakes.generator import installed
from tests.fakes.weighty_engine import WEIGHTY, Weighty, install
from tests.parity_weights import seeded_checkpoint

COUNTING = {"counting": "tests.fakes.engine:CountingEngine"}
PHOTOS = {"photos-only": "tests.fakes.engine:PhotoEngine"}
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

    def __init__(self, weights: WeightsStore, compute: Compute) -> None:
        raise self.failure


@pytest.mark.parametrize("kind", [ImportError, OSError, RuntimeError, AttributeError])
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
    engines = Engines(("wav2lip", "facewarp"), ENGINES, tmp_path, Compute("cpu"))
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
    engines = Engines(("photos-only", "counting"), PHOTOS | COUNTING)
    assert engines.resolve("auto", "photo").info.name == "photos-only"
    assert engines.resolve("auto", "video").info.name == "counting"
    # So that the face is looked into, and the error says what it is and what would animate it.
    assert Engines(("photos-only",), PHOTOS).resolve("auto", "video").info.name == "photos-only"
    assert engines_for("video") == ("facewarp", "wav2lip")


def test_engines_are_listed_in_the_order_of_auto() -> None:
    known = BROKEN | {"facewarp": ENGINES["facewarp"]} | COUNTING
    statuses = Engines(("counting", "missing", "broken"), known).statuses()
    assert [(status.info.name, status.auto) for status in statuses] == [
        ("counting", True),
        ("broken", True),
        ("facewarp", False),
    ]


@pytest.fixture
def weighty(tmp_path: Path) -> Iterator[Engines]:
    Weighty.forget()
    yield Engines(("weighty", "counting"), WEIGHTY | COUNTING, tmp_path)
    Weighty.gate.set()


def test_a_checkpoint_that_is_replaced_or_removed_is_noticed_and_renders_keep_theirs(
    weighty: Engines, tmp_path: Path
) -> None:
    install(tmp_path, b"one")
    one: Any = weighty.resolve("auto")
    counting = weighty.resolve("counting")
    assert weighty.resolve("weighty") is one
    install(tmp_path, b"two")
    two: Any = weighty.resolve("auto")
    assert two is not one
    assert one.file != two.file
    assert two.file.read_bytes() == b"two"
    (tmp_path / "s3fd.json").unlink()
    with pytest.raises(CheckpointMissing):
        weighty.resolve("weighty")
    assert weighty.resolve("auto") is counting
    install(tmp_path, b"three")
    two.file.unlink(missing_ok=True)
    third: Any = weighty.resolve("weighty")
    third.file.unlink()
    with pytest.raises(CheckpointMissing):
        weighty.resolve("weighty")
    assert weighty.resolve("counting") is counting


def test_while_an_engine_is_loaded_its_status_says_so_and_a_render_waits(
    weighty: Engines, tmp_path: Path
) -> None:
    assert [status.ready for status in weighty.statuses()] == [False, True]
    Weighty.gate.clear()
    install(tmp_path, b"one")
    status, counting = weighty.statuses(0.01)
    assert (status.info.name, status.ready, status.loading) == ("weighty", False, True)
    assert "being loaded" in status.reason
    assert (counting.ready, counting.loading) == (True, False)
    found: list[Any] = []
    render = threading.Thread(target=lambda: found.append(weighty.resolve("auto")))
    render.start()
    # Replaced before the first load has ended: the render gets the new one, loaded after it.
    install(tmp_path, b"two")
    for _ in range(3):
        assert weighty.statuses(0.01)[0].loading
    assert not found
    Weighty.gate.set()
    render.join()
    assert found[0].file.name.startswith("s3fd-")
    assert found[0].file.read_bytes() == b"two"
    assert len(Weighty.begun) == 2
    assert max(Weighty.at_once) == 1
    status = weighty.statuses()[0]
    assert (status.device, status.runtime, status.precision) == ("cuda", "torch", "bf16")
    assert status.checkpoints == ("s3fd",)
    assert not status.loading


def test_a_file_that_does_not_fit_is_looked_into_once(weighty: Engines, tmp_path: Path) -> None:
    install(tmp_path, b"unfit")
    for _ in range(3):
        assert "something else" in weighty.statuses()[0].reason
        with pytest.raises(CheckpointMismatch):
            weighty.resolve("weighty")
    assert len(Weighty.begun) == 1
    install(tmp_path, b"fits")
    assert weighty.statuses()[0].ready


@pytest.mark.parametrize("content", [b"unfit", b"large"])
def test_what_a_failed_load_had_in_hand_is_let_go(
    weighty: Engines, tmp_path: Path, content: bytes
) -> None:
    install(tmp_path, content)
    assert not weighty.statuses()[0].ready
    gc.collect()
    assert Weighty.last() is None


def test_why_an_engine_failed_is_said_also_while_it_is_tried_again(
    weighty: Engines, tmp_path: Path
) -> None:
    install(tmp_path, b"large")
    assert "out of memory" in weighty.statuses()[0].reason
    Weighty.gate.clear()
    for _ in range(2):
        status = weighty.statuses(0.01)[0]
        assert not status.loading
        assert "out of memory" in status.reason
    assert len(Weighty.begun) == 2
    Weighty.gate.set()
    weighty.statuses()
    Weighty.gate.clear()
    install(tmp_path, b"fits")
    assert weighty.statuses(0.01)[0].loading
    Weighty.gate.set()
    assert weighty.statuses()[0].ready


def test_the_speed_of_an_engine_is_the_median_of_its_last_renders(
    weighty: Engines, tmp_path: Path
) -> None:
    install(tmp_path, b"one")
    engine = weighty.resolve("weighty")
    assert weighty.statuses()[0].real_time is None
    for seconds in (9.0, 9.0, 2.0, 1.0, 4.0, 0.1, 2.0):
        weighty.rendered(engine, 6.0, seconds)
    speeds = [status.real_time for status in weighty.statuses()]
    assert speeds == [3.0, None]
    install(tmp_path, b"two")
    assert weighty.statuses()[0].real_time is None
    weighty.rendered(engine, 6.0, 1.0)
    assert weighty.statuses()[0].real_time is None
