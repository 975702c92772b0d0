"""What a tunnel answers in place of the GPU host behind it, and what to do about it."""

import json
import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from contracts.errors import TunnelFailed

RATE_PAUSE_SECONDS: Final = 60.0
"""How long nothing is asked over a tunnel whose rate is used up; ngrok's resets within that."""
MONTH_PAUSE_SECONDS: Final = 15 * 60.0
"""The same where a month's allowance is used up: it may be raised, but nothing changes soon."""
READ_BYTES: Final = 64 * 1024
"""So much of an error or a web page is looked at."""

_NGROK: Final = re.compile(r"ERR_NGROK_(\d{1,6})")
_GATEWAY: Final = frozenset({502, 503, 504, *range(520, 531)})
"""Statuses of something on the way that got no answer from the host; Cloudflare's own from 520."""
_MIDWAY: Final = frozenset({502, 504, 520, 524})
"""Those that may also come when the host was at work already, and died or took too long."""
_DASHBOARD: Final = "https://dashboard.ngrok.com"
_SPARE: Final = f"Wait for the next month, raise the plan at {_DASHBOARD}/billing, or use another "


class _Fault(NamedTuple):
    said: str
    hint: str
    pause_seconds: float | None = None
    midway: bool = False


_OFFLINE = _Fault(
    "its endpoint is offline",
    "Start the GPU host again (in its notebook or terminal); on a permanent domain its address "
    "stays, else paste the new connection string that it prints.",
)
_RATE = _Fault(
    "its account sends too much in too short a time",
    "It is asked again in a minute; fewer open pages and jobs ask for less.",
    RATE_PAUSE_SECONDS,
)
_BANDWIDTH = _Fault(
    "its account has used up this month's bandwidth",
    _SPARE + "account or cloudflared for the GPU host.",
    MONTH_PAUSE_SECONDS,
)
_REQUESTS = _Fault(
    "its account has used up this month's requests",
    _SPARE + "account or cloudflared for the GPU host.",
    MONTH_PAUSE_SECONDS,
)
# Each of these was looked up in ngrok's own list of errors (ngrok.com/docs/errors); none was ever
# provoked at ngrok itself.
_FAULTS: Final = {
    "3200": _OFFLINE,
    "8012": _Fault(
        "the program behind it does not answer",
        "The tunnel's agent runs, but the GPU host beside it does not: look at its terminal or "
        "notebook, and start it again.",
    ),
    "3004": _Fault(
        "the program behind it broke off its answer",
        "Look at the GPU host's terminal or notebook: it may have been killed for its memory.",
        midway=True,
    ),
    "6024": _Fault(
        "ngrok shows its warning for browsers instead of the GPU host",
        "Something between here and ngrok drops the header ngrok-skip-browser-warning: look at "
        "the proxies that this computer uses.",
    ),
    "702": _RATE,
    "703": _RATE,
    "718": _RATE,
    "720": _RATE,
    "721": _RATE,
    "734": _RATE,
    "725": _BANDWIDTH,
    "726": _REQUESTS,
    "727": _REQUESTS,
    "728": _REQUESTS,
}


def tunnel_fault(
    status: int, headers: Mapping[str, str], said: bytes, url: str
) -> TunnelFailed | None:
    """What is wrong, where not the GPU host has answered but the tunnel before it.

    Args:
        status: The answer's.
        headers: The answer's; names in any case.
        said: The beginning of its body, where that is an error or a web page.
        url: Where the GPU host should be.

    Returns:
        The error, with `retry_after_seconds` where nothing should be asked for so long.
    """
    # Bodies are searched only for the code: pages of others are never shown, nor kept.
    found = _NGROK.search(headers.get("Ngrok-Error-Code", "")) or _NGROK.search(
        "" if _is_json(said) else said.decode("latin-1")
    )
    if found:
        return _of_ngrok(found[1], url)
    if status in _GATEWAY and not _is_json(said):
        return _of_gateway(status, headers, url)
    return None


def _of_ngrok(number: str, url: str) -> TunnelFailed:
    code = f"ERR_NGROK_{number}"
    fault = _FAULTS.get(number)
    if fault is None:
        return TunnelFailed(
            f"the tunnel at {url} answers {code} in place of the GPU host",
            hint=f"https://ngrok.com/docs/errors/{code.lower()} says what that means; look at the "
            "terminal or notebook that runs the GPU host.",
        )
    error = TunnelFailed(
        f"the tunnel at {url}: {fault.said} ({code})",
        hint=fault.hint,
        retry_after_seconds=fault.pause_seconds,
    )
    error.midway = fault.midway
    return error


def _of_gateway(status: int, headers: Mapping[str, str], url: str) -> TunnelFailed:
    who = "Cloudflare" if "cloudflare" in headers.get("Server", "").lower() else "a gateway"
    # 530 with error 1033: Cloudflare knows the tunnel, but no cloudflared is connected to it.
    hint = (
        "The tunnel is not connected: start the GPU host again, and paste the connection string "
        "that it prints."
        if status == 530
        else "The tunnel is there, but the GPU host behind it does not answer: look at its "
        "terminal or notebook, and start it again."
    )
    error = TunnelFailed(f"{who} answers {status} in place of the GPU host at {url}", hint=hint)
    error.midway = status in _MIDWAY
    return error


def _is_json(said: bytes) -> bool:
    if not said.lstrip().startswith((b"{", b"[")):
        return False
    try:
        json.loads(said)
    except ValueError:
        return False
    return True
