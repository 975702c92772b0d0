"""How each GPU host does: reached, let in, understood, and of the same time as this machine."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

import requests
from pydantic import TypeAdapter, ValidationError

from backend.doctor.database import Added, look_at_database
from backend.gpu.client import GpuClient
from backend.gpu.transport import Line, line_to, no_gpu_host
from backend.settings import Settings
from contracts.doctor.findings import Finding, Look, fault, look_at_all, note, well
from contracts.doctor.machine import where_set
from contracts.errors import GpuRefused, GpuUnreachable, LipSyncError, NoGpuHost, VersionMismatch
from contracts.hosts import GpuHostView, host_name
from contracts.lipsync import EngineStatus
from contracts.versions import (
    API_HEADER,
    API_VERSION,
    PROGRAM_VERSION,
    read_version,
    require_understood,
)

SECONDS: Final = 20.0
"""How long all hosts together may take; each is given up after 10 s of silence."""
CLOCK_SECONDS: Final = 5.0
"""Clocks that differ by more are wrong."""
BACKEND_SECONDS: Final = 8.0
"""It asks its hosts before it answers, for some seconds at most."""
_MISUNDERSTOOD: Final = "They do not understand each other, and it gets no jobs."
_VIEWS: Final = TypeAdapter(list[GpuHostView])
_ENGINES: Final = TypeAdapter(list[EngineStatus])


def look_at_hosts(settings: Settings) -> list[Finding]:
    """Every host of the running backend; where none runs, those of the settings and the database.

    `run.py up` makes tokens that only the running services know, hence the backend goes first.
    """
    found, added = look_at_database(settings)
    running, views = _ask_backend(settings)
    found += running
    looks: dict[str, Look]
    if views is not None:
        looks = {f"hosts: {each.name}": _Viewed(each) for each in views}
    else:
        hosts = [*_fixed(settings), *added]
        looks = {f"hosts: {each.name}": _Known(each, settings) for each in hosts}
    if not looks:
        why = "Nothing can be rendered until one is added."
        return [*found, fault("hosts", "there is no GPU host", why, "python3 run.py up")]
    return found + look_at_all(looks, SECONDS)


def _fixed(settings: Settings) -> Sequence[Added]:
    url = settings.gpu_url
    return [Added(host_name(url), url, settings.gpu_token.get_secret_value())] if url else []


def _ask_backend(settings: Settings) -> tuple[list[Finding], list[GpuHostView] | None]:
    """What the running backend says of its hosts; None where none says anything."""
    address = f"http://127.0.0.1:{settings.port}"
    token = settings.token.get_secret_value()
    with requests.Session() as session:
        session.trust_env = False
        if token:
            session.headers["Authorization"] = f"Bearer {token}"
        try:
            version = session.get(f"{address}/version", timeout=2)
            answer = session.get(f"{address}/gpu-hosts", timeout=BACKEND_SECONDS)
            views = _VIEWS.validate_json(answer.content) if answer.ok else None
            told = str(version.json().get("version", "")) if version.ok else ""
        except (requests.RequestException, ValueError, AttributeError):
            return [], None  # another program, or none
    if answer.status_code == requests.codes.unauthorized:
        what = "the backend that runs here asks for another token than BACKEND_TOKEN says"
        why = "So it can't be asked how its GPU hosts do; the settings say which there are."
        return [note("backend", what, why, "start it again, so that it reads the settings")], None
    if views is None or told == PROGRAM_VERSION:
        return [], views
    what = f"the backend that runs here is version {told}, and the program here {PROGRAM_VERSION}"
    why = "It runs on with what it was started from."
    return [fault("versions", what, why, "python3 run.py up   # after Ctrl-C where it runs")], views


class _Viewed:
    """Looks at a host of which the running backend tells."""

    def __init__(self, view: GpuHostView) -> None:
        self._view = view

    def __call__(self) -> list[Finding]:
        name, url, error = self._view.name, self._view.url, self._view.error
        if error is not None:
            return [_failing(name, url, error.code, error.detail, error.hint)]
        if not self._view.healthy:
            return [note("hosts", f"{name} was asked, and has not answered yet")]
        if self._view.kind == "plain":
            return [_plain(name)]
        reached = _reached(name, [each.info.name for each in self._view.engines if each.ready])
        try:
            with line_to(url, "") as line:  # its health is told without a token
                return [reached, *_agreement(name, line)]
        except LipSyncError:
            return [reached]  # as the backend has it, which asks in its own way


class _Known:
    """Looks at a host of the settings or the database."""

    def __init__(self, host: Added, settings: Settings) -> None:
        self._host = host
        self._settings = settings

    def __call__(self) -> list[Finding]:
        name, url, token = self._host
        try:
            with line_to(url, token) as line:
                found = _agreement(name, line)
                if any(each.topic == "versions" and each.state == "fault" for each in found):
                    return found
                statuses = _ENGINES.validate_json(line.ask("GET", "/engines").content)
        except GpuRefused as error:
            return [_failing(name, url, error.code, error.detail, self._token_line())]
        except NoGpuHost as error:
            return [_plain(name)] if _is_plain(url, token) else [self._unanswered(error)]
        except LipSyncError as error:
            return [self._unanswered(error)]
        except ValidationError:
            return [self._unanswered(no_gpu_host(url))]
        return [_reached(name, [each.info.name for each in statuses if each.ready]), *found]

    def _token_line(self) -> str:
        if self._host.url == self._settings.gpu_url:
            place = where_set("BACKEND_GPU_TOKEN")
            return f"BACKEND_GPU_TOKEN=…   # in {place}: the GPU_TOKEN that the host printed"
        return 'remove it on the page "GPU hosts", and add it with the token that it printed'

    def _unanswered(self, error: LipSyncError) -> Finding:
        name, url, _ = self._host
        default = type(self._settings).model_fields["gpu_url"].default
        if error.code == GpuUnreachable.code and url == default:
            why = "It is this machine's own, and starts with the other services."
            return note("hosts", f"the GPU host {name} does not run now", why, "python3 run.py up")
        return _failing(name, url, error.code, error.detail, error.hint)


def _is_plain(url: str, token: str) -> bool:
    """Whether something that is no host of ours offers `POST /run-wav2lip` all the same."""
    try:
        return GpuClient(url, token).is_plain()
    except LipSyncError:
        return False


def _plain(name: str) -> Finding:
    what = f"{name} offers POST /run-wav2lip alone"
    return note("hosts", what, "It makes whole videos by wav2lip, without progress or cancelling.")


def _reached(name: str, ready: Sequence[str]) -> Finding:
    if ready:
        return well("hosts", f"{name} answers, with {', '.join(ready)}")
    line = "python -m gpu_service doctor   # on that machine"
    return fault("hosts", f"{name} has no engine that is ready", "It can make no video.", line)


def _failing(name: str, url: str, code: str, detail: str, hint: str) -> Finding:
    if code == VersionMismatch.code:
        return fault("versions", detail, _MISUNDERSTOOD, hint)
    if code == GpuUnreachable.code:
        hint = f"python -m gpu_service serve   # there; if it runs: is {url} its address?"
    what = detail if name in detail else f"{name}: {detail}"
    return fault(
        "hosts", what, "It gets no jobs; where no other host can take them, they wait.", hint
    )


def _agreement(name: str, line: Line) -> list[Finding]:
    """Whether the host speaks our version of the interface and has our time.

    Raises:
        LipSyncError: It does not answer as a GPU host.
    """
    before = time.time()
    try:
        answer = line.ask("GET", "/health")
    except VersionMismatch as error:
        return [fault("versions", error.detail, _MISUNDERSTOOD, error.hint)]
    after = time.time()
    try:
        health: dict[str, Any] = dict(answer.json())
    except (ValueError, TypeError):
        health = {}
    header = answer.headers.get(API_HEADER) or str(health.get("api", ""))
    try:
        require_understood(
            read_version(header), other_is=f"the GPU host {name}", we_are="the backend"
        )
    except VersionMismatch as error:
        return [fault("versions", error.detail, _MISUNDERSTOOD, error.hint)]
    return [
        *_versions(name, header, str(health.get("version", ""))),
        *_clock(name, answer.headers.get("Date", ""), before, after),
    ]


def _versions(name: str, header: str, program: str) -> list[Finding]:
    spoken = read_version(header)
    if spoken == API_VERSION and program == PROGRAM_VERSION:
        return []
    what = (
        f"the GPU host {name} is of version {program or 'unknown'} (interface {spoken}), "
        f"this backend of {PROGRAM_VERSION} ({API_VERSION})"
    )
    why = "They understand each other; what only the newer one can is not used."
    return [note("versions", what, why, "git pull   # on the older of the two, and start it again")]


def _clock(name: str, date: str, before: float, after: float) -> list[Finding]:
    try:
        theirs = parsedate_to_datetime(date).timestamp()
    except ValueError:
        return []  # it does not tell
    # The header has whole seconds, and was written at some time between asking and hearing.
    ahead = max(0.0, theirs - after) or min(0.0, theirs + 1 - before)
    if abs(ahead) <= CLOCK_SECONDS:
        return [well("clock", f"{name} has the time of this machine")]
    now = datetime.now(UTC)
    side = "ahead of" if ahead > 0 else "behind"
    return [
        fault(
            "clock",
            f"the clock of {name} is {abs(ahead):.0f} s {side} this machine's, where it is "
            f"{now:%H:%M:%S} UTC",
            "Certificates and tunnels compare times, and refuse connections. So do the leases of "
            "jobs, where that machine runs a backend too: it may make jobs a second time.",
            "sudo timedatectl set-ntp true   # on the one that is wrong",
        )
    ]
