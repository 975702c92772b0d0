"""One GPU host: what it said of itself, how it failed, and what it renders for us."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from backend.gpu.client import GpuClient, HostHealth
from contracts.errors import LipSyncError
from contracts.hosts import GpuHostView
from contracts.lipsync import EngineStatus

FRESH_SECONDS: Final = 5.0
"""What a host said is not asked again for so long."""
BELIEVED_SECONDS: Final = 2 * FRESH_SECONDS
"""A host that was last heard so long ago gets no job before it is asked again."""
GRACE_SECONDS: Final = 1.0
"""So long a job waits for hosts that are being asked, because one of them may be better."""
FIRST_PAUSE_SECONDS: Final = 2.0
MAX_PAUSE_SECONDS: Final = 30.0
UNMEASURED_CUDA: Final = 10.0
"""How many times real time a graphics card is taken to make that has rendered nothing yet."""
UNMEASURED: Final = 1.0


@dataclass
class Host:
    """How a host does; `GpuHosts` lets one thread at a time in here. Times are of its clock."""

    id: str
    name: str
    url: str
    fixed: bool
    client: GpuClient
    running: int = 0
    """Renders that we have there now."""
    healthy: bool = False
    """Whether it answered when it was last asked."""
    device: str = ""
    engines: tuple[EngineStatus, ...] = ()
    capacity: int = 1
    error: LipSyncError | None = None
    """Why it gets no job."""
    asked_at: float | None = None
    """When it was last heard, or found not to answer."""
    asking_since: float | None = None
    checked_at: datetime | None = None
    failures: int = 0
    """In a row; they make the pause longer."""
    broke: bool = False
    """Whether the last failure was that of a render: such a host answers when it is asked, and
    only a render that succeeds shows that it is well again."""
    paused_until: float = 0.0

    def stale(self, now: float) -> bool:
        """Whether it is time to ask it again."""
        if self.asking_since is not None:
            return False
        if self.asked_at is None or now - self.asked_at >= FRESH_SECONDS:
            return True
        return not self.healthy and not self.paused(now)

    def paused(self, now: float) -> bool:
        """Whether it gets neither jobs nor questions on their behalf, because it failed."""
        return now < self.paused_until

    def usable(self, now: float) -> bool:
        """Whether it can take jobs, if it has room."""
        heard = self.asked_at is not None and now - self.asked_at < BELIEVED_SECONDS
        return self.healthy and heard and not self.paused(now)

    def promises(self, now: float) -> bool:
        """Whether its answer is worth waiting for, because it has not failed before."""
        since = self.asking_since
        known_to_fail = self.checked_at is not None and not self.healthy
        return since is not None and now - since < GRACE_SECONDS and not known_to_fail

    def answered(self, health: HostHealth, engines: list[EngineStatus], now: float) -> None:
        """It was asked, and is well."""
        self._heard(now)
        self.healthy = True
        self.device = health.device
        self.capacity = max(1, health.renders_max)
        self.engines = tuple(engines)
        if not self.broke:
            self.failures, self.paused_until = 0, 0.0
        if not self.paused(now):
            self.error = None

    def unanswered(self, error: LipSyncError, now: float, jitter: float) -> None:
        """It was asked, and gave no answer that can be used."""
        self._heard(now)
        self.broke = False
        self._fail(error, now, jitter)

    def failed(self, error: LipSyncError, now: float, jitter: float) -> None:
        """It failed a render."""
        # Renders that fail together are one failure.
        if self.error is None or not self.paused(now):
            self.broke, self.asked_at = True, None
            self._fail(error, now, jitter)

    def rendered(self) -> None:
        """It has made a video."""
        self.failures, self.broke, self.paused_until, self.error = 0, False, 0.0, None

    def rest(self, seconds: float, now: float) -> None:
        """It has no room, because others use it, too."""
        self.paused_until = max(self.paused_until, now + seconds)

    def _heard(self, now: float) -> None:
        self.asked_at, self.asking_since = now, None
        self.checked_at = datetime.now(UTC)

    def _fail(self, error: LipSyncError, now: float, jitter: float) -> None:
        self.healthy, self.error = False, error
        self.failures += 1
        # Doubling stops long before the power becomes a large number.
        pause = min(MAX_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2 ** min(self.failures - 1, 10))
        self.paused_until = now + pause * (0.75 + jitter / 2)

    def status(self, engine: str | None) -> EngineStatus | None:
        """The engine of that name, or the one that `auto` takes; None when it can't render."""
        able = [each for each in self.engines if each.ready or each.loading]
        if engine is not None:
            return next((each for each in able if each.info.name == engine), None)
        return next((each for each in able if each.auto), None)

    def rank(self, engine: str | None) -> tuple[bool, bool, float]:
        """The least is the best host for a job."""
        status = self.status(engine)
        if status is None:
            return True, True, 0.0
        speed = status.real_time
        if speed is None:
            speed = UNMEASURED_CUDA if status.device.startswith("cuda") else UNMEASURED
        # The engine that needs nothing is what `auto` falls back to where no better is installed.
        fallback = engine is None and not status.info.needs
        return fallback, status.loading, -speed / (self.running + 1)

    def view(self, now: float) -> GpuHostView:
        """The host as callers see it."""
        pause = self.paused_until - now
        return GpuHostView(
            id=self.id,
            name=self.name,
            url=self.url,
            fixed=self.fixed,
            healthy=self.healthy,
            checked_at=self.checked_at,
            device=self.device,
            engines=self.engines,
            running=self.running,
            capacity=self.capacity,
            error=self.error.body() if self.error else None,
            next_try_at=datetime.now(UTC) + timedelta(seconds=pause) if pause > 0 else None,
        )
