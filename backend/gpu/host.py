"""One GPU host: what it said of itself, how it failed, and what it renders for us."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final, Literal, NamedTuple

from backend.gpu.client import GpuClient, HostHealth
from backend.gpu.plain import PLAIN_ENGINE, PlainClient
from backend.gpu.renderer import Renderer
from backend.gpu.usage import FAR_SECONDS
from contracts.errors import GpuUnreachable, LipSyncError, NoGpuHost
from contracts.hosts import GpuHostView, HostUsage
from contracts.lipsync import EngineStatus

FRESH_SECONDS: Final = 5.0
"""What a host said is not asked again for so long."""
BELIEVED: Final = 2
"""A host that was last heard so many times that ago gets no job before it is asked again."""
GRACE_SECONDS: Final = 1.0
"""So long a job waits for hosts that are being asked, because one of them may be better."""
FIRST_PAUSE_SECONDS: Final = 2.0
MAX_PAUSE_SECONDS: Final = 30.0
MAX_FAR_PAUSE_SECONDS: Final = 300.0
"""The same for a host beyond this machine, which may be asked 300 times a day."""
MAX_BARRED_SECONDS: Final = 3600.0
UNMEASURED_CUDA: Final = 10.0
"""How many times real time a graphics card is taken to make that has rendered nothing yet."""
UNMEASURED: Final = 1.0


class Told(NamedTuple):
    """What a host says of itself when it is asked."""

    health: HostHealth
    engines: tuple[EngineStatus, ...]
    kind: Literal["lipsync", "plain"] = "lipsync"


_PLAIN: Final = Told(HostHealth(engines_ready=("wav2lip",)), (PLAIN_ENGINE,), "plain")


@dataclass
class Host:
    """How a host does; `GpuHosts` lets one thread at a time in here. Times are of its clock."""

    id: str
    name: str
    url: str
    fixed: bool
    far: bool
    """Whether it is beyond this machine, so that each request may cost something."""
    token: str = field(repr=False)
    client: GpuClient
    plain: PlainClient
    """How it is asked where it turns out to be a plain host."""
    kind: Literal["lipsync", "plain"] = "lipsync"
    usage: HostUsage | None = None
    fresh_seconds: float = FRESH_SECONDS
    """What it said is not asked again for so long."""
    said: HostHealth | None = None
    """How it said last that it does."""
    running: int = 0
    """Renders that we have there now."""
    healthy: bool = False
    """Whether it answered when it was last asked."""
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
    measured: bool = False
    """Whether it may know by now how fast an engine is of which it did not know."""
    paused_until: float = 0.0
    barred_until: float = 0.0
    """Until then nobody asks it anything, because its tunnel would refuse."""

    @property
    def device(self) -> str:
        """What its engines run on."""
        return self.said.device if self.said else ""

    @property
    def draining(self) -> bool:
        """Whether it is being stopped, and takes no new jobs."""
        return self.said is not None and self.said.draining

    @property
    def fault(self) -> LipSyncError | None:
        """Why it gets no job; None where it is well, or is being asked."""
        if self.error is None and self.draining:
            return GpuUnreachable(
                "it is being stopped, and takes no new videos",
                hint="Start it again, or add another GPU host.",
            )
        return self.error

    @property
    def renderer(self) -> Renderer:
        """How it is asked for a video."""
        return self.plain if self.kind == "plain" else self.client

    def count(self, usage: HostUsage | None, question_seconds: float) -> None:
        """Know what has passed, and how long what such a host said is not asked again."""
        self.usage = usage
        if self.far:
            self.fresh_seconds = question_seconds

    def renew(self, token: str, client: GpuClient, plain: PlainClient) -> None:
        """Ask it with another token, or the same one once more, as if it were a new one."""
        self.token, self.client, self.plain = token, client, plain
        self.kind = "lipsync"
        self.failures, self.broke, self.paused_until, self.barred_until = 0, False, 0.0, 0.0
        self.asked_at = self.asking_since = self.checked_at = self.error = self.said = None

    def ask(self) -> Told:
        """Ask how it does; in any thread.

        Raises:
            LipSyncError: It gives no answer that can be used.
        """
        if self.kind == "plain" and self.client.is_plain():
            return _PLAIN
        try:
            health = self.client.health()
        except NoGpuHost:
            if self.kind == "lipsync" and self.client.is_plain():
                return _PLAIN
            raise
        # Far hosts are asked for their engines only where these may have changed.
        known = self.healthy and health.same_engines(self.said) and self.engines
        if self.far and known and not self.measured:
            return Told(health, self.engines)
        return Told(health, tuple(self.client.engines()))

    def stale(self, now: float) -> bool:
        """Whether it is time to ask it again."""
        if self.asking_since is not None or now < self.barred_until:
            return False
        if self.kind == "plain" and self.running:
            return False  # it may serve one request at a time
        if self.asked_at is None or now - self.asked_at >= self.fresh_seconds:
            return True
        return not (self.far or self.healthy or self.paused(now))

    def paused(self, now: float) -> bool:
        """Whether it gets neither jobs nor questions on their behalf, because it failed."""
        return now < self.paused_until

    def usable(self, now: float) -> bool:
        """Whether it can take jobs, if it has room."""
        believed_seconds = BELIEVED * self.fresh_seconds
        heard = self.asked_at is not None and now - self.asked_at < believed_seconds
        return self.healthy and heard and not (self.draining or self.paused(now))

    def promises(self, now: float) -> bool:
        """Whether its answer is worth waiting for, because it has not failed before."""
        since = self.asking_since
        known_to_fail = self.checked_at is not None and not self.healthy
        return since is not None and now - since < GRACE_SECONDS and not known_to_fail

    def answered(self, told: Told, now: float) -> None:
        """It was asked, and is well."""
        self._heard(now)
        self.healthy, self.measured = True, False
        self.said, self.engines, self.kind = told
        self.capacity = max(1, self.said.renders_max)
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

    def rendered(self, now: float) -> None:
        """It has made a video."""
        self.failures, self.broke, self.paused_until, self.error = 0, False, 0.0, None
        self.measured = any(each.ready and each.real_time is None for each in self.engines)
        if self.far:  # as good as an answer, and spares the next question
            self.healthy, self.asked_at = True, now

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
        longest = MAX_FAR_PAUSE_SECONDS if self.far else MAX_PAUSE_SECONDS
        pause = min(longest, FIRST_PAUSE_SECONDS * 2 ** min(self.failures - 1, 10))
        self.paused_until = now + pause * (0.75 + jitter / 2)
        if error.retry_after_seconds is not None:
            self.barred_until = now + min(MAX_BARRED_SECONDS, error.retry_after_seconds)
            self.paused_until = max(self.paused_until, self.barred_until)

    def status(self, engine: str | None) -> EngineStatus | None:
        """The engine of that name, or the one that `auto` takes; None when it can't render."""
        able = [each for each in self.engines if each.ready or each.loading]
        if engine is not None:
            return next((each for each in able if each.info.name == engine), None)
        return next((each for each in able if each.auto), None)

    def rank(self, engine: str | None) -> tuple[bool, bool, bool, float]:
        """The least is the best host for a job."""
        plain = self.kind == "plain"  # no progress, no options: only where no other has room
        status = self.status(engine)
        if status is None:
            return plain, True, True, 0.0
        speed = status.real_time
        if speed is None:
            speed = UNMEASURED_CUDA if status.device.startswith("cuda") else UNMEASURED
        # The engine that needs nothing is what `auto` falls back to where no better is installed.
        fallback = engine is None and not status.info.needs
        return plain, fallback, status.loading, -speed / (self.running + 1)

    def view(self, now: float) -> GpuHostView:
        """The host as callers see it."""
        pause = self.paused_until - now
        return GpuHostView(
            id=self.id,
            name=self.name,
            url=self.url,
            kind=self.kind,
            fixed=self.fixed,
            healthy=self.healthy,
            checked_at=self.checked_at,
            device=self.device,
            engines=self.engines,
            running=self.running,
            capacity=self.capacity,
            error=self.error.body() if self.error else None,
            next_try_at=datetime.now(UTC) + timedelta(seconds=pause) if pause > 0 else None,
            api=self.said.api if self.said else "",
            version=self.said.version if self.said else "",
            draining=self.draining,
            usage=self.usage,
            asked_seldom=self.far and self.fresh_seconds > FAR_SECONDS,
        )
