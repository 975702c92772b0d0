"""Which engines there are; each is imported and loaded once, when it is first asked for."""

import logging
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import Any, Final

from contracts.errors import CheckpointMismatch, EngineNotFound, EngineUnavailable
from contracts.lipsync import EngineInfo, EngineStatus
from gpu_service.engines.base import Engine
from gpu_service.faces.detectors import Detectors
from gpu_service.settings import Compute
from gpu_service.weights.store import Fingerprint, WeightsStore

log = logging.getLogger(__name__)

ENGINES: Final[Mapping[str, str]] = {
    "facewarp": "gpu_service.engines.facewarp.engine:FacewarpEngine",
    "wav2lip": "gpu_service.engines.wav2lip.engine:Wav2LipEngine",
}
"""Import strings, so that an engine whose libraries are missing hurts no other. A class whose
`info.needs` is not empty is built with the host's weights and Compute, the others with nothing. It
raises EngineUnavailable where it can't render, and is tried again the next time it is asked for;
what it may say of itself in `device`, `runtime` and `precision` is listed.
"""

DEFAULT: Final = Compute()
INSTALL_LINE: Final = (
    "python -m pip install --no-deps --require-hashes -r requirements/gpu_service.txt"
)
LOADING: Final = "it is being loaded, which takes some seconds; a render waits for it"
SPEEDS_KEPT: Final = 5
"""So many renders tell how fast an engine is."""


@dataclass
class _Load:
    """An engine that is loaded, is being loaded, or could not be."""

    weights: Fingerprint
    """The weights that were installed when it began."""
    future: Future[Engine[Any]]
    failed_before: BaseException | None = None
    """Why the try before failed, with the same weights. It is told until this one has ended: a try
    that is slow to fail would else look like loading whenever somebody asks."""
    speeds: deque[float] = field(default_factory=lambda: deque(maxlen=SPEEDS_KEPT))
    """Seconds of video per second of the last renders."""

    def outdated(self, weights: Fingerprint) -> bool:
        """Whether it must be done anew. A load that has not ended must end first."""
        if not self.future.done():
            return False
        if self.engine:
            return bool(self.engine.info.needs) and weights != self.weights
        if isinstance(self.future.exception(), CheckpointMismatch):
            return weights != self.weights  # looking into the same file again costs seconds
        return True  # what was missing may have been installed

    @property
    def engine(self) -> Engine[Any] | None:
        """The engine, once it is loaded."""
        ready = self.future.done() and not self.future.exception()
        return self.future.result() if ready else None

    @property
    def failure(self) -> BaseException | None:
        """Why there is no engine, as far as it is known."""
        return self.future.exception() if self.future.done() else self.failed_before


class Engines:
    """The engines of this host; each is loaded by one thread while others may look on.

    An engine is built anew when the installed weights change. Whoever renders with the old one
    keeps it.

    Args:
        order: What `auto` tries.
        known: Import string by name.
        weights_dir: Where checkpoints are.
        compute: Where and how networks run.
    """

    def __init__(
        self,
        order: Sequence[str],
        known: Mapping[str, str] = ENGINES,
        weights_dir: Path = Path(".data/weights"),
        compute: Compute = DEFAULT,
    ) -> None:
        self.known = known
        self._order = order
        self._weights = WeightsStore(weights_dir)
        self._compute = compute
        self.detectors = Detectors(self._weights, compute.device)
        """What may say where a face's box is, beside MediaPipe."""
        self._loads: dict[str, _Load] = {}
        self._threads = ThreadPoolExecutor(max(1, len(known)), thread_name_prefix="engine")
        self._lock = threading.Lock()

    def resolve(self, name: str, kind: str | None = None) -> Engine[Any]:
        """The engine that renders when `name` is asked for; waits while it is being loaded.

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

    def statuses(self, patience_seconds: float | None = None) -> list[EngineStatus]:
        """Every engine, whether it is ready, and if not, why; those of `auto` first, in its order.

        Args:
            patience_seconds: How long to wait for engines that are being loaded, before saying
                just that of them; None waits for all.
        """
        tried = [name for name in self._order if name in self.known]
        names = list(dict.fromkeys([*tried, *self.known]))
        loads = [self._begin(name) for name in names]
        wait([load.future for load in loads], patience_seconds)
        return [
            self._status(name, load).model_copy(update={"auto": name in tried})
            for name, load in zip(names, loads, strict=True)
        ]

    def rendered(self, engine: Engine[Any], video_seconds: float, seconds: float) -> None:
        """Note how long a render took; an engine that was built anew meanwhile is not credited."""
        with self._lock:
            load = self._loads.get(engine.info.name)
            if load and load.engine is engine and seconds > 0:
                load.speeds.append(video_seconds / seconds)

    def _status(self, name: str, load: _Load) -> EngineStatus:
        engine = load.engine
        if engine is None:
            info = _info(name, self.known[name])
            if not load.failure:
                return EngineStatus(info=info, ready=False, loading=True, reason=LOADING)
            why = _unavailable(info, load.failure)
            return EngineStatus(info=info, ready=False, reason=f"{why.detail}. {why.hint}")
        said = {
            each: getattr(engine, each)
            for each in ("device", "runtime", "precision")
            if hasattr(engine, each)
        }
        with self._lock:
            real_time = round(median(load.speeds), 2) if load.speeds else None
        return EngineStatus(
            info=engine.info,
            ready=True,
            real_time=real_time,
            checkpoints=tuple(each for each in engine.info.checkpoints if self._weights.find(each)),
            **said,
        )

    def _load(self, name: str) -> Engine[Any]:
        if name not in self.known:
            raise EngineNotFound(f"there is no engine {name!r}")
        load = self._begin(name)
        wait([load.future])
        if load.weights != self._weights.fingerprint():  # they changed while it was being loaded
            load = self._begin(name)
            wait([load.future])
        if load.engine is None:
            error = load.future.exception()
            if not isinstance(error, EngineUnavailable):
                log.warning("engine %s can't be loaded", name, exc_info=error)
            raise _unavailable(_info(name, self.known[name]), error) from error
        return load.engine

    def _begin(self, name: str) -> _Load:
        """The engine's load, begun here unless that has been done."""
        weights = self._weights.fingerprint()
        with self._lock:
            load = self._loads.get(name)
            if load is None or load.outdated(weights):
                failed = load.failure if load and load.weights == weights else None
                load = _Load(weights, self._threads.submit(self._make, name), failed)
                self._loads[name] = load
            return load

    def _make(self, name: str) -> Engine[Any]:
        started = time.perf_counter()
        engine_class = _import(name, self.known[name])
        equipment = (self._weights, self._compute) if engine_class.info.needs else ()
        try:
            engine: Engine[Any] = engine_class(*equipment)
        finally:
            _let_go(sys.exception())
        log.info("engine %s loaded in %.2f s", name, time.perf_counter() - started)
        return engine


def _let_go(error: BaseException | None) -> None:
    """Empty the frames that a failure passed through: it is kept, and they hold whole networks."""
    while error:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


def _unavailable(info: EngineInfo, error: BaseException | None) -> EngineUnavailable:
    """Why an engine can't be loaded, as an error of its own.

    The one that a load keeps is not raised again: it would hold on to all that it passed through.
    """
    if isinstance(error, EngineUnavailable):
        return type(error)(error.detail, hint=error.hint)
    # PyTorch raises many kinds where its own parts are gone, or its device has no memory left.
    return EngineUnavailable(
        f"the engine {info.name} can't be loaded: {error}",
        hint=f"Mend what it needs: {', '.join(info.needs)}.",
    )


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
