"""Which engines there are; each is imported and loaded once, when it is first asked for."""

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, Final

from contracts.errors import EngineNotFound, EngineUnavailable
from contracts.lipsync import EngineInfo, EngineStatus
from gpu_service.engines.base import Engine

log = logging.getLogger(__name__)

ENGINES: Final[Mapping[str, str]] = {
    "facewarp": "gpu_service.engines.facewarp.engine:FacewarpEngine",
}
"""Import strings, so that an engine whose libraries are missing hurts no other."""

INSTALL_LINE: Final = (
    "python -m pip install --no-deps --require-hashes -r requirements/gpu_service.txt"
)


class Engines:
    """The engines of this host.

    Args:
        order: What `auto` tries.
        known: Import string by name.
    """

    def __init__(self, order: Sequence[str], known: Mapping[str, str] = ENGINES) -> None:
        self.known = known
        self._order = order
        self._loaded: dict[str, Engine[Any]] = {}
        self._lock = threading.Lock()

    def resolve(self, name: str) -> Engine[Any]:
        """The engine that renders when `name` is asked for; `auto` takes the first that is ready.

        Raises:
            EngineNotFound: No engine has this name.
            EngineUnavailable: It can't run here; for `auto`, none can.
        """
        if name != "auto":
            return self._load(name)
        reasons = []
        for candidate in self._order:
            try:
                return self._load(candidate)
            except (EngineNotFound, EngineUnavailable) as error:
                reasons.append(f"{candidate}: {error.detail}")
        if not reasons:
            raise EngineUnavailable(
                "`auto` has no engine to try", hint="Name one in GPU_ENGINE_ORDER."
            )
        raise EngineUnavailable("no engine is ready; " + "; ".join(reasons), hint=INSTALL_LINE)

    def statuses(self) -> list[EngineStatus]:
        """Every engine, whether it is ready, and if not, why."""
        return [self._status(name) for name in self.known]

    def _status(self, name: str) -> EngineStatus:
        try:
            return EngineStatus(info=self._load(name).info, ready=True)
        except EngineUnavailable as error:
            return EngineStatus(
                info=_unknown_info(name), ready=False, reason=f"{error.detail}. {error.hint}"
            )

    def _load(self, name: str) -> Engine[Any]:
        if name not in self.known:
            raise EngineNotFound(f"there is no engine {name!r}")
        with self._lock:
            if name not in self._loaded:
                started = time.perf_counter()
                self._loaded[name] = _import(name, self.known[name])
                log.info("engine %s loaded in %.2f s", name, time.perf_counter() - started)
            return self._loaded[name]


def _import(name: str, path: str) -> Engine[Any]:
    module, _, class_name = path.partition(":")
    try:
        engine: Engine[Any] = getattr(import_module(module), class_name)()
    except ImportError as error:
        raise EngineUnavailable(
            f"the engine {name} can't be imported: {error}", hint=f"Run: {INSTALL_LINE}"
        ) from error
    return engine


def _unknown_info(name: str) -> EngineInfo:
    """What is told of an engine that can't even be imported."""
    return EngineInfo(
        name=name,
        title="Can't be loaded on this host",
        version="",
        accepts=(),
        streaming=False,
        look_ahead_seconds=0.0,
        licence="",
    )
