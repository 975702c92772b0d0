"""Who may use the GPU host: whoever sends its bearer token."""

import hmac
import logging
import os
import re
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Final

from contracts.asgi import AsgiApp, Receive, Scope, Send, refuse
from contracts.errors import LipSyncError, NotAuthorized, OriginRefused

OPEN_PATHS: Final = ("/health",)
"""Asked by those who only want to know whether the host is up."""
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{24,200}")
log = logging.getLogger(__name__)


def kept_token(file: Path) -> str:
    """A token that is hard to guess, the same at each start: made once, and kept in the file.

    Only its owner may read the file. Where it can't be written, the token is a new one each time.
    """
    with suppress(OSError):
        token = file.read_text(encoding="ascii", errors="replace").strip()
        if _TOKEN.fullmatch(token):
            return token
    token = secrets.token_urlsafe(24)
    unfinished = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        unfinished.touch(mode=0o600)
        unfinished.write_text(f"{token}\n", encoding="ascii")
        unfinished.replace(file)
    except OSError as error:
        log.warning("the token can't be kept, and is another one at the next start: %s", error)
    return token


class BearerToken:
    """ASGI layer that refuses requests without the token.

    Args:
        app: The service.
        token: What callers must send; empty lets every program in, but no web page.
        drain_bytes: How much of a refused body is taken, so that its sender reads the answer.
    """

    def __init__(self, app: AsgiApp, token: str, drain_bytes: int) -> None:
        self._app = app
        self._token = token.encode()
        self._drain_bytes = drain_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http":
            error = self._refusal(scope)
            if error is not None:
                await refuse(error, scope, receive, send, self._drain_bytes)
                return
        await self._app(scope, receive, send)

    def _refusal(self, scope: Scope) -> LipSyncError | None:
        headers: dict[bytes, bytes] = dict(scope["headers"])
        if scope["path"] in OPEN_PATHS:
            return None
        if not self._token:
            # Browsers send an Origin with every POST, and programs send none: without a token,
            # any web page could otherwise have this machine render.
            page = headers.get(b"origin")
            return OriginRefused("web pages may not call the GPU host") if page else None
        scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
        # Compared in constant time, so that the answer's delay tells nothing about the token.
        right = hmac.compare_digest(token.strip(), self._token)
        if right and scheme.lower() == b"bearer":
            return None
        return NotAuthorized("the GPU host's token is missing or wrong")
