"""Which engines there are; each is imported and loaded once, when it is first asked for."""

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from contracts.errors import EngineNotFound, EngineUnavailable
from contracts.lipsync import EngineInfo, EngineStatus
from gpu_service.engines.base import Engine
from gpu_service.weights.store import WeightsStore

log = logging.getLogger(__name__)

ENGINES: Final[Mapping[str, str]] = {
    "facewarp": "gpu_service.engines.facewarp.engine:FacewarpEngine",
    "wav2lip": "gpu_service.engines.wav2lip.engine:Wav2LipEngine",
}
"""Import strings, so that an engine whose libraries are missing hurts no other. A class whose
`info.needs` is not empty is built with the host's weights and device, the others with nothing. It
raises EngineUnavailable where it can't render, and is tried again the next time it is asked for.
"""

INSTALL_LINE: Final = (
    "python -m pip install --no-deps --require-hashes -r requirements/gpu_service.txt"
)


class Engines:
    """The engines of this host.

    Args:
        order: What `auto` tries.
        known: Import string by name.
        weights_dir: Where checkpoints are.
        device: Where networks run: `auto`, `cpu` or `cuda`.
    """

    def __init__(
        self,
        order: Sequence[str],
        known: Mapping[str, str] = ENGINES,
        weights_dir: Path = Path(".data/weights"),
        device: str = "auto",
    ) -> None:
        self.known = known
        self._order = order
        self._equipment = (WeightsStore(weights_dir), device)
        self._loaded: dict[str, Engine[Any]] = {}
        self._lock = threading.Lock()

    def resolve(self, name: str, kind: str | None = None) -> Engine[Any]:
        """The engine that renders when `name` is asked for.

        Args:
            name: Of an engine; `auto` takes the first of the order that is ready.
            kind: `photo` or `video`; `auto` passes over engines that do not animate such a face,
                unless no other is ready.

        Raises:
            EngineNotFound: No engine has this name.
            EngineUnavailable: It can't run here; for `auto`, none can.
        """
        if name != "auto":
            return self._load(name)
        reasons, ready = [], []
        for candidate in self._order:
            try:
                ready.append(self._load(candidate))
            except (EngineNotFound, EngineUnavailable) as error:
                reasons.append(f"{candidate}: {error.detail}")
            else:
                if kind is None or kind in ready[-1].info.accepts:
                    return ready[-1]
        if ready:
            return ready[0]
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
            engine = self._load(name)
        except EngineUnavailable as error:
            return EngineStatus(
                info=_info(name, self.known[name]),
                ready=False,
                reason=f"{error.detail}. {error.hint}",
            )
        return EngineStatus(info=engine.info, ready=True, device=getattr(engine, "device", "cpu"))

    def _load(self, name: str) -> Engine[Any]:
        if name not in self.known:
            raise EngineNotFound(f"there is no engine {name!r}")
        with self._lock:
            if name not in self._loaded:
                started = time.perf_counter()
                self._loaded[name] = self._make(name)
                log.info("engine %s loaded in %.2f s", name, time.perf_counter() - started)
            return self._loaded[name]

    def _make(self, name: str) -> Engine[Any]:
        engine_class = _import(name, self.known[name])
        needs = engine_class.info.needs
        try:
            engine: Engine[Any] = engine_class(*(self._equipment if needs else ()))
        except (ImportError, OSError) as error:  # PyTorch raises both where its own parts are gone
            raise EngineUnavailable(
                f"the engine {name} can't be loaded: {error}",
                hint=f"Mend what it needs: {', '.join(needs)}.",
            ) from error
        return engine


def engines_for(kind: str) -> tuple[str, ...]:
    """Names of our engines that animate a `photo` or a `video`, ready or not."""
    return tuple(name for name, path in ENGINES.items() if kind in _info(name, path).accepts)


def _import(name: str, path: str) -> type[Any]:
    module, _, class_name = path.partition(":")
    try:
        engine_class: type[Any] = getattr(import_module(module), class_name)
    except ImportError as error:
        raise EngineUnavailable(
            f"the engine {name} can't be imported: {error}", hint=f"Run: {INSTALL_LINE}"
        ) from error
    return engine_class


def _info(name: str, path: str) -> EngineInfo:
    """What an engine says of itself, also where it is not ready."""
    try:
        info: EngineInfo = _import(name, path).info
    except EngineUnavailable:
        return EngineInfo(
            name=name,
            title="Can't be loaded on this host",
            version="",
            accepts=(),
            streaming=False,
            look_ahead_seconds=0.0,
            licence="",
        )
    return info
