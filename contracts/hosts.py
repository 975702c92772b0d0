"""GPU hosts: how they are addressed, and how the backend shows them."""

import ipaddress
import re
from datetime import datetime
from typing import Annotated, NamedTuple
from urllib.parse import quote, unquote, urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr

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


class GpuHostView(BaseModel):
    """One GPU host, and how it does."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    id: str
    name: str
    url: str
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
