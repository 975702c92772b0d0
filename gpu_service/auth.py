"""Who may use the GPU host: whoever sends its bearer token."""

import hmac
from typing import Final

from contracts.asgi import AsgiApp, Receive, Scope, Send, refuse
from contracts.errors import LipSyncError, NotAuthorized, OriginRefused

OPEN_PATHS: Final = ("/health",)
"""Asked by those who only want to know whether the host is up."""


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
