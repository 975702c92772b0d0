"""Which GPU hosts there are, how they do, and which one takes the next job."""

import logging
import random
import threading
import time
from collections.abc import Callable, Collection
from typing import Final
from urllib.parse import urlsplit

from backend.gpu.added import AddedHosts
from backend.gpu.client import GpuClient
from backend.gpu.faults import for_host, no_host
from backend.gpu.host import Host
from backend.gpu.plain import PlainClient
from backend.gpu.renderer import Renderer
from backend.gpu.traffic import Traffic
from backend.gpu.usage import QUESTIONS_A_DAY, Usage
from contracts.errors import (
    Conflict,
    GpuHostNotFound,
    GpuUnreachable,
    LipSyncError,
)
from contracts.hosts import Connection, GpuHostView, NewGpuHost, host_name, is_loopback
from contracts.lipsync import EngineStatus

log = logging.getLogger(__name__)

FIXED_ID: Final = "fixed"
LOOK_SECONDS: Final = 3.0
"""So long somebody who looks waits for hosts that are being asked."""
_random = random.SystemRandom()


def beyond_own_network(url: str) -> bool:
    """Whether requests to an address may be counted, as tunnels do.

    Within a network of one's own, such as that of containers, plain HTTP is spoken; elsewhere it
    would show the token to everybody on the way, so that only TLS is.
    """
    parts = urlsplit(url)
    return parts.scheme == "https" and not is_loopback(parts.hostname or "")


class Place:
    """Room for one render on a host, until it is left."""

    def __init__(self, hosts: "GpuHosts", host: Host) -> None:
        self._hosts = hosts
        self._host = host

    @property
    def name(self) -> str:
        """The host's name, for people."""
        return self._host.name

    @property
    def client(self) -> Renderer:
        """How it is asked."""
        return self._host.renderer

    def leave(self) -> None:
        """Give the room back."""
        self._hosts.change(lambda _: self._leave())

    def _leave(self) -> None:
        self._host.running -= 1

    def rendered(self) -> None:
        """The host has made a video."""
        self._hosts.change(self._host.rendered)

    def failed(self, error: LipSyncError) -> None:
        """The host failed the render, or can't be reached any more."""
        told = for_host(error, self._host.fixed)
        self._hosts.change(lambda now: self._host.failed(told, now, self._hosts.draw()))

    def busy(self, seconds: float) -> None:
        """The host has no room after all."""
        self._hosts.change(lambda now: self._host.rest(seconds, now))


class GpuHosts:
    """The host that the settings name and those that were added; safe to use from every thread.

    Hosts are asked how they do only when a job waits or somebody looks; those beyond this machine
    only so often a day, see `Usage`.

    Args:
        added: Those that somebody added.
        usage: Counts what passes.
        fixed: Address and token of the one that the settings name; None where they name none.
        timeout_seconds: How long resuming a render is tried while nothing new comes.
        clock: Seconds that only grow.
        draw: A random number in [0, 1), so that pauses of several hosts do not end together.
        far: Whether the host at an address is asked seldom, because that costs requests.
        forwarded: Whether what is sent is packed for every host, because ports of this machine lead
            to others; else for those at addresses of other machines.
    """

    def __init__(
        self,
        added: AddedHosts,
        usage: Usage,
        fixed: Connection | None,
        timeout_seconds: float = 45.0,
        *,
        clock: Callable[[], float] = time.monotonic,
        draw: Callable[[], float] = _random.random,
        far: Callable[[str], bool] = beyond_own_network,
        forwarded: bool = False,
    ) -> None:
        self._added = added
        self._usage = usage
        self._far, self._forwarded = far, forwarded
        self._timeout_seconds = timeout_seconds
        self._clock = clock
        self.draw = draw
        self._hosts: dict[str, Host] = {}
        self._changed = threading.Condition()
        self._rereading = threading.Lock()
        self.on_news: list[Callable[[], None]] = []
        """Called when a host may have room that had none, from any thread."""
        if fixed is not None:
            name = host_name(fixed.url)
            self._hosts[FIXED_ID] = self._host(FIXED_ID, name, fixed.url, fixed.token)

    def change(self, change: Callable[[float], None]) -> None:
        """Change hosts, one thread at a time, and tell of it.

        Args:
            change: Is given the clock's time.
        """
        with self._changed:
            change(self._clock())
            self._changed.notify_all()
        for tell in self.on_news:
            tell()

    def views(self, *, look: bool = True) -> list[GpuHostView]:
        """Every host, the fixed one first.

        Args:
            look: Whether they are asked now, unless that was a moment ago; else as they were when
                last asked.
        """
        if look:
            self.look()
        else:
            self._reread()
        with self._changed:
            return [host.view(self._clock()) for host in self._hosts.values()]

    def add(self, new: NewGpuHost) -> tuple[GpuHostView, bool]:
        """Use another host from now on, whether or not it answers yet.

        One that was added before takes the new token, and is asked at once: a host that was
        restarted has another token at the same address.

        Returns:
            The host, and whether it is a new one.

        Raises:
            InvalidInput: Its address or token can't be used.
            Conflict: It is there already, and no token was given, or the settings name it.
        """
        fixed = self._hosts.get(FIXED_ID)
        host_id, is_new = self._added.add(new, besides=fixed.url if fixed else "")
        self._reread()
        with self._changed:
            host = self._hosts.get(host_id)
            if host is not None and not is_new:
                self._renew(host, host.token)
        self.look()
        with self._changed:
            host = self._hosts.get(host_id)
            if host is None:  # somebody else was quicker to remove it
                raise GpuHostNotFound(f"the GPU host {new.name!r} is gone already")
            return host.view(self._clock()), is_new

    def remove(self, host_id: str) -> None:
        """Give a host no more jobs; those that it renders end there.

        Raises:
            GpuHostNotFound: No host has this id.
            Conflict: The settings name it.
        """
        if host_id == FIXED_ID and host_id in self._hosts:
            raise Conflict(
                "BACKEND_GPU_URL names this GPU host", hint="Change the setting and restart."
            )
        self._added.remove(host_id)
        self._reread()

    def look(self) -> None:
        """Ask those that were not asked lately, also failing ones, and wait for a moment."""
        self.ask(also_paused=True)
        with self._changed:
            asking = [host for host in self._hosts.values() if host.asking_since is not None]
            self._changed.wait_for(
                lambda: all(host.asking_since is None for host in asking), LOOK_SECONDS
            )

    def ask(self, *, also_paused: bool = False) -> None:
        """Have every host asked how it does, in threads of their own, unless it was asked lately.

        Args:
            also_paused: Those too that get no jobs for now, because they failed.
        """
        self._reread()
        now = self._clock()
        with self._changed:
            due = [
                host
                for host in self._hosts.values()
                if host.stale(now) and (also_paused or not host.paused(now))
            ]
            for host in due:
                host.asking_since = now
            asked = [(host, host.client) for host in due]
        for host, client in asked:
            threading.Thread(
                target=self._ask_one, args=[host, client], name=f"ask-{host.name}", daemon=True
            ).start()

    def _ask_one(self, host: Host, client: GpuClient) -> None:
        try:
            if host.far and not self._usage.may_ask(host.url):
                raise GpuUnreachable(
                    f"it was asked {QUESTIONS_A_DAY} times today how it does, which is the most",
                    hint="It is asked again after midnight UTC; a look at fewer pages asks less.",
                )
            told = host.ask()
        except LipSyncError as error:
            kept = for_host(error, host.fixed)
            self._note(host, client, lambda now: host.unanswered(kept, now, self.draw()))
        except Exception:
            # Else it would count as being asked for ever.
            log.exception("asking the GPU host %s failed", host.name)
            unforeseen = GpuUnreachable(f"asking the GPU host {host.name} failed")
            self._note(host, client, lambda now: host.unanswered(unforeseen, now, self.draw()))
        else:
            self._note(host, client, lambda now: host.answered(told, now))

    def _note(self, host: Host, client: GpuClient, change: Callable[[float], None]) -> None:
        """Change a host, unless it has got another token since it was asked."""
        self.change(lambda now: change(now) if host.client is client else None)

    def _reread(self) -> None:
        """See what was added, changed and removed, perhaps by another process."""
        # One at a time, else a slow one would undo what has changed since it read the rows.
        with self._rereading:
            rows = {row.id: row for row in self._added.rows()}
            passed = self._usage.all()
            with self._changed:
                for gone in self._hosts.keys() - {FIXED_ID, *rows}:
                    del self._hosts[gone]
                for row in rows.values():
                    host = self._hosts.get(row.id)
                    if host is None:
                        self._hosts[row.id] = self._host(row.id, row.name, row.url, row.token)
                        continue
                    host.name = row.name
                    if host.token != row.token:
                        self._renew(host, row.token)
                for host in self._hosts.values():
                    usage = passed.get(host.url)
                    num_asked = usage.questions_today if usage else 0
                    host.count(usage, self._usage.question_seconds(num_asked))

    def _host(self, host_id: str, name: str, url: str, token: str) -> Host:
        client, plain = self._clients(url, token)
        fixed = host_id == FIXED_ID
        return Host(host_id, name, url, fixed, self._far(url), token, client, plain)

    def _renew(self, host: Host, token: str) -> None:
        host.renew(token, *self._clients(host.url, token))

    def _clients(self, url: str, token: str) -> tuple[GpuClient, PlainClient]:
        def meter(traffic: Traffic) -> None:
            self._usage.passed(url, traffic)

        far = True if self._forwarded else None
        return (
            GpuClient(url, token, self._timeout_seconds, meter=meter, far=far),
            PlainClient(url, token, meter=meter),
        )

    def take(
        self,
        engine: str | None,
        *,
        begun: bool = False,
        last: str | None = None,
        avoid: Collection[str] = (),
    ) -> Place | None:
        """Room on the best host that can make a job; None when it has to wait, see `why`.

        Args:
            engine: Which engine it needs; None where the host may choose.
            begun: Whether the engine has drawn some of it already. Such a job waits for a host that
                has the engine; another is sent to a host that says in its own words what it lacks.
            last: Name of the host that rendered it last, and may still hold what it drew.
            avoid: Names of hosts on which it failed, taken only when there are no others.
        """
        with self._changed:
            now = self._clock()
            free = [
                host
                for host in self._able(engine, now, begun=begun)
                if host.running < host.capacity
            ]
            if not free:
                return None
            best = min(
                free,
                key=lambda each: (each.name in avoid, each.name != last, each.rank(engine)),
            )
            best.running += 1
            return Place(self, best)

    def _able(self, engine: str | None, now: float, *, begun: bool) -> list[Host]:
        hosts = self._hosts.values()
        usable = [host for host in hosts if host.usable(now)]
        able = [host for host in usable if host.status(engine)]
        asking = [host for host in hosts if host.asking_since is not None]
        if able:
            return [] if any(host.promises(now) for host in asking) else able
        # A host that does not answer now may have what the others lack.
        elsewhere = any(host.status(engine) for host in hosts if not host.usable(now))
        return [] if begun or elsewhere or asking else usable

    def why(self, engine: str | None = None) -> LipSyncError | None:
        """Why no host takes a job that needs the engine; None when it is only not its turn."""
        with self._changed:
            now = self._clock()
            hosts = list(self._hosts.values())
            usable = [host for host in hosts if host.usable(now)]
            if any(host.status(engine) for host in usable):
                return None
            if any(host.fault is None and not host.usable(now) for host in hosts):
                return None  # it is being asked
            if usable:
                return GpuUnreachable(
                    f"no GPU host that answers has the engine {engine}",
                    hint="Start or add a GPU host that has it, or cancel the job.",
                )
            faults = [(host.name, host.fault) for host in hosts]
            return no_host([(name, fault) for name, fault in faults if fault])

    def engines(self) -> list[EngineStatus]:
        """Every engine once, as it does on the best host that has it ready; that host's first.

        Raises:
            LipSyncError: No host can be used, and why.
        """
        found: dict[str, EngineStatus] = {}
        for host in self._best():
            for status in host.engines:
                known = found.get(status.info.name)
                if known is None or (status.ready and not known.ready):
                    found[status.info.name] = status
        return list(found.values())

    def best(self) -> GpuHostView:
        """The host that would get a job that leaves the engine open, busy or not.

        Raises:
            LipSyncError: No host can be used, and why.
        """
        host = self._best()[0]
        with self._changed:
            return host.view(self._clock())

    def _best(self) -> list[Host]:
        self.ask(also_paused=True)
        # Who has one host that is well need not wait for another that is not.
        best = self._usable()
        if not best:
            self.look()
            best = self._usable()
        if not best:
            raise self.why() or GpuUnreachable("no GPU host has answered yet")
        return best

    def _usable(self) -> list[Host]:
        with self._changed:
            now = self._clock()
            usable = [host for host in self._hosts.values() if host.usable(now)]
            return sorted(usable, key=lambda host: host.rank(None))
