"""GPU hosts: how they are addressed, and how the backend shows them."""

import ipaddress
import re
from datetime import datetime
from typing import Annotated, Literal, NamedTuple
from urllib.parse import quote, unquote, urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr
from pydantic.config import JsonDict

from contracts.errors import InvalidInput
from contracts.lipsync import EngineStatus
from contracts.problem import ErrorBody

_CONNECTION = re.compile(
    r"lipsync://(?:(?P<token>[^@/\s]*)@)?(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)"
    r"(?P<port>:\d{1,5})?/?"
)
_HOST = re.compile(r"[a-z0-9._-]+|[0-9a-f:.]+")
_PATH = re.compile(r"[A-Za-z0-9._~/%-]*")


def is_loopback(host: str) -> bool:
    """Whether the host can be reached from this machine alone."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class Connection(NamedTuple):
    """Where a GPU host answers, and what it asks for."""

    url: str
    token: str

    def as_text(self) -> str:
        """The string that `parse_connection` reads, to be pasted into the page of GPU hosts.

        Raises:
            InvalidInput: It can't say this address: it has a path, or is `http` beyond this
                machine.
        """
        url = host_url(self.url)
        secret = f"{quote(self.token, safe='')}@" if self.token else ""
        text = f"lipsync://{secret}{host_name(url)}"
        if _CONNECTION.fullmatch(text) is None or parse_connection(text).url != url:
            raise InvalidInput(f"no connection string can say {url}", field="url")
        return text


def parse_connection(text: str) -> Connection:
    """Read `lipsync://token@host[:port]`: http where the host is this machine, else https.

    Raises:
        InvalidInput: It is none.
    """
    match = _CONNECTION.fullmatch(text.strip())
    port = int(match["port"][1:]) if match and match["port"] else None
    if match is None or port == 0 or (port or 0) > 65535:
        raise InvalidInput(
            "this is no connection string",
            hint="It looks like lipsync://token@host or lipsync://token@host:port.",
            field="connection",
        )
    scheme = "http" if is_loopback(match["host"]) else "https"
    return Connection(
        f"{scheme}://{match['host']}{match['port'] or ''}", unquote(match["token"] or "")
    )


def host_name(url: str) -> str:
    """What to call a GPU host that has no name: its address without the scheme."""
    return url.partition("://")[2] or url


def host_url(text: str) -> str:
    """The address of a GPU host in its one form.

    Raises:
        InvalidInput: It is none, or holds what could end up in a log.
    """
    wrong = InvalidInput(
        "this is no address of a GPU host",
        hint="It looks like https://host.example, with a port or a path if need be.",
        field="url",
    )
    try:
        parts = urlsplit(text.strip())
        port = parts.port
    except ValueError:
        raise wrong from None
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise InvalidInput(
            "the address holds more than a host, a port and a path",
            hint="Leave out user, password and query; a token has a field of its own.",
            field="url",
        )
    hostname = (parts.hostname or "").lower()
    if parts.scheme not in ("http", "https") or port == 0 or not _HOST.fullmatch(hostname):
        raise wrong
    if not _PATH.fullmatch(parts.path):
        raise wrong
    shown = f"[{hostname}]" if ":" in hostname else hostname
    if port not in (None, {"http": 80, "https": 443}[parts.scheme]):
        shown += f":{port}"
    return f"{parts.scheme}://{shown}{parts.path.rstrip('/')}"


class NewGpuHost(BaseModel):
    """A GPU host to add: a connection string, or an address with its token."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    name: Annotated[str, Field(max_length=60, examples=["Colab"])] = ""
    """For people; the address without its scheme when empty."""
    connection: Annotated[str, Field(max_length=600, examples=["lipsync://token@host.example"])] = (
        ""
    )
    """`lipsync://token@host[:port]`: its GPU_TOKEN, and where it answers."""
    url: Annotated[str, Field(max_length=400, examples=["https://host.example"])] = ""
    """Its address, when no connection string is given."""
    token: SecretStr = SecretStr("")
    """Its GPU_TOKEN; never shown again."""


class HostUsage(BaseModel):
    """What has passed between this backend and a GPU host in a month."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    month: Annotated[str, Field(examples=["2026-01"])]
    """In UTC."""
    requests: int = 0
    """Of every kind, health questions included."""
    sent_bytes: int = 0
    received_bytes: int = 0
    """What a tunnel counts as going out. Both as on the wire, without TLS."""
    questions_today: int = 0
    """How often it was asked how it does, since midnight UTC."""


_EXAMPLE: JsonDict = {
    "id": "5f0c1d2e3a4b5c6d7e8f90a1b2c3d4e5",
    "name": "Colab",
    "url": "https://name.ngrok-free.app",
    "kind": "lipsync",
    "healthy": True,
    "checked_at": "2026-01-02T03:04:05Z",
    "device": "cuda",
    "capacity": 1,
    "api": "1.1",
    "version": "0.1.0",
    "usage": {
        "month": "2026-01",
        "requests": 412,
        "sent_bytes": 21_000_000,
        "received_bytes": 38_000_000,
        "questions_today": 17,
    },
}


class GpuHostView(BaseModel):
    """One GPU host, and how it does."""

    model_config = ConfigDict(
        frozen=True, use_attribute_docstrings=True, json_schema_extra={"examples": [_EXAMPLE]}
    )

    id: str
    name: str
    url: str
    kind: Literal["lipsync", "plain"] = "lipsync"
    """`plain` offers only `POST /run-wav2lip`: whole videos of the engine wav2lip with its default
    options, without progress, queue or cancelling."""
    fixed: bool = False
    """Named by BACKEND_GPU_URL, so that it can't be removed here."""
    healthy: bool
    """Whether it answered when it was last asked."""
    checked_at: datetime | None = None
    """UTC; None before it was asked for the first time."""
    device: str = ""
    """What its engines run on."""
    engines: tuple[EngineStatus, ...] = ()
    """As it said when it last answered."""
    running: int = 0
    """Jobs of this backend that it renders now."""
    capacity: int = 1
    """How many renders it makes at the same time."""
    error: ErrorBody | None = None
    """What went wrong there last; None once it answers again."""
    next_try_at: datetime | None = None
    """UTC; until then it gets no job, because it failed."""
    api: str = ""
    """Version of the interface that it speaks; empty where it has not said."""
    version: str = ""
    """Version of its program; empty where it has not said."""
    draining: bool = False
    """Whether it is being stopped, and takes no new jobs."""
    usage: HostUsage | None = None
    """What has passed between it and this backend this month; None before anything has."""
    asked_seldom: bool = False
    """Whether it is asked less often how it does for the rest of the day, so that at most 300
    questions a day go over its tunnel; meanwhile it counts as well if it was when last heard."""


class FoundGpuHost(BaseModel):
    """A GPU host that answers at an endpoint of the ngrok account."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    url: str
    device: str = ""
    """What its engines run on."""
    engines_ready: tuple[str, ...] = ()
    """Names of the engines that can render now."""
    version: str = ""
    """Version of its program; empty where it has not said."""


class FoundGpuHosts(BaseModel):
    """What the ngrok account has."""

    model_config = ConfigDict(
        frozen=True,
        use_attribute_docstrings=True,
        json_schema_extra={
            "examples": [
                {
                    "configured": True,
                    "hosts": [{"url": "https://name.ngrok-free.app", "device": "cuda"}],
                }
            ]
        },
    )

    configured: bool
    """Whether BACKEND_NGROK_API_KEY is set; without it nothing is looked for."""
    looking: bool = False
    """Whether the answer is still being looked for; ask again in a moment."""
    hosts: tuple[FoundGpuHost, ...] = ()
    """Those that answer as LipSync GPU hosts and have not been added yet."""
