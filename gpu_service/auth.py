"""Who may use the GPU host: whoever sends its bearer token."""

import hmac
import uuid
from typing import Final

from contracts.asgi import AsgiApp, Receive, Scope, Send, refuse
from contracts.errors import NotAuthorized

OPEN_PATHS: Final = ("/health",)
"""Asked by those who only want to know whether the host is up."""


class BearerToken:
    """ASGI layer that names each request, and refuses those without the token.

    Args:
        app: The service.
        token: What callers must send; empty lets everybody in.
        drain_bytes: How much of a refused body is taken, so that its sender reads the answer.
    """

    def __init__(self, app: AsgiApp, token: str, drain_bytes: int) -> None:
        self._app = app
        self._token = token.encode()
        self._drain_bytes = drain_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http":
            scope["request_id"] = uuid.uuid4().hex
            if not self._admits(scope):
                error = NotAuthorized("the GPU host's token is missing or wrong")
                await refuse(error, scope, receive, send, self._drain_bytes)
                return
        await self._app(scope, receive, send)

    def _admits(self, scope: Scope) -> bool:
        if not self._token or scope["path"] in OPEN_PATHS:
            return True
        sent: bytes = dict(scope["headers"]).get(b"authorization", b"")
        scheme, _, token = sent.partition(b" ")
        # Compared in constant time, so that the answer's delay tells nothing about the token.
        right = hmac.compare_digest(token.strip(), self._token)
        return right and scheme.lower() == b"bearer"
