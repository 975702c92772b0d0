"""Which version of the interface the host speaks: said on every answer, asked of every caller."""

import uuid
from typing import Final

from contracts.asgi import AsgiApp, Message, Receive, Scope, Send, refuse
from contracts.errors import VersionMismatch
from contracts.versions import API_HEADER, API_VERSION, read_version, require_understood

OPEN_PATHS: Final = ("/health",)
"""Answered whatever the caller speaks, since it says what we speak."""
_NAME: Final = API_HEADER.lower().encode()
_VALUE: Final = str(API_VERSION).encode()


class SpokenVersion:
    """Outermost ASGI layer: names each request, and refuses callers that nobody here understands.

    Args:
        app: The service.
        drain_bytes: How much of a refused body is taken, so that its sender reads the answer.
    """

    def __init__(self, app: AsgiApp, drain_bytes: int) -> None:
        self._app = app
        self._drain_bytes = drain_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope["request_id"] = uuid.uuid4().hex

        async def spoken(message: Message) -> None:
            if message["type"] == "http.response.start":
                others = [each for each in message["headers"] if each[0].lower() != _NAME]
                message["headers"] = [*others, (_NAME, _VALUE)]
            await send(message)

        try:
            _check(scope)
        except VersionMismatch as error:
            await refuse(error, scope, receive, spoken, self._drain_bytes)
            return
        await self._app(scope, receive, spoken)


def _check(scope: Scope) -> None:
    if scope["path"] in OPEN_PATHS:
        return
    said = dict(scope["headers"]).get(_NAME, b"").decode("latin-1")
    require_understood(read_version(said), other_is="the backend", we_are="the GPU host")
