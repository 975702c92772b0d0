"""What the ASGI services do alike: problem answers, and a limit on request bodies."""

import math
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from contracts.errors import (
    InvalidInput,
    LipSyncError,
    MediaTooLarge,
    MethodNotAllowed,
    NotAuthorized,
    NotFound,
    UnsupportedMedia,
)
from contracts.problem import PROBLEM_JSON

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
AsgiApp = Callable[[Scope, Receive, Send], Awaitable[None]]


def problem_headers(error: LipSyncError) -> dict[str, str]:
    """The headers that go with an error's body."""
    headers = {"Content-Type": PROBLEM_JSON}
    if error.retry_after_seconds is not None:
        headers["Retry-After"] = str(math.ceil(error.retry_after_seconds))
    if isinstance(error, NotAuthorized):
        headers["WWW-Authenticate"] = "Bearer"
    return headers


def framework_error(status: int, detail: str) -> LipSyncError:
    """Our error for one that the web framework found by itself."""
    known = (NotFound, MethodNotAllowed, MediaTooLarge, UnsupportedMedia)
    for error_class in known:
        if error_class.http_status == status:
            return error_class(detail)
    return InvalidInput(detail) if 400 <= status < 500 else LipSyncError(detail)


async def send_problem(
    send: Send,
    error: LipSyncError,
    *,
    request_id: str = "",
    more_body: bool = False,
    answers: str = "http.response",
) -> None:
    """Answer with an error from outside the framework.

    Args:
        send: The ASGI channel.
        error: What to say.
        request_id: Names the request in the service's log.
        more_body: Leaves the answer open, though all of it is sent.
        answers: The kind of message; `websocket.http.response` refuses a socket's handshake.
    """
    body = error.body(request_id).model_dump_json().encode()
    headers = problem_headers(error) | {"Content-Length": str(len(body))}
    encoded = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await send({"type": f"{answers}.start", "status": error.http_status, "headers": encoded})
    await send({"type": f"{answers}.body", "body": body, "more_body": more_body})


async def refuse(
    error: LipSyncError, scope: Scope, receive: Receive, send: Send, drain_bytes: int
) -> None:
    """Answer a request whose body has not been read, so that the caller sees the answer.

    Many clients send everything before they read. Closing on them would reset the connection
    and lose the answer, so what still comes is taken and dropped, up to `drain_bytes`.
    """
    await send_problem(send, error, request_id=scope.get("request_id", ""), more_body=True)
    await end_unread(receive, send, drain_bytes)


async def end_unread(receive: Receive, send: Send, drain_bytes: int) -> None:
    """End an answer that was sent with `more_body`, once the request's body has come, too."""
    dropped = 0
    while dropped < drain_bytes:
        message = await receive()
        dropped += len(message.get("body", b""))
        if not message.get("more_body", False):
            break
    await send({"type": "http.response.body", "body": b"", "more_body": False})


class BodyLimit:
    """Outermost ASGI layer that refuses request bodies over the limit, counted while they come.

    Args:
        app: The service.
        max_bytes: Largest body, whatever its Content-Length says.
    """

    def __init__(self, app: AsgiApp, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if int(declared) > self._max_bytes:
            await self._refuse(scope, receive, send)
            return
        received = 0
        started = False

        async def counted() -> Message:
            nonlocal received
            if received > self._max_bytes:
                return {"type": "http.disconnect"}
            message = await receive()
            received += len(message.get("body", b""))
            return message if received <= self._max_bytes else {"type": "http.disconnect"}

        async def guarded(message: Message) -> None:
            nonlocal started
            if started or received <= self._max_bytes:
                started = True
                await send(message)

        await self._app(scope, counted, guarded)
        if received > self._max_bytes and not started:
            await self._refuse(scope, receive, send)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        limit_mb = self._max_bytes / 1_000_000
        error = MediaTooLarge(f"the request's body has more than {limit_mb:g} MB")
        await refuse(error, scope, receive, send, drain_bytes=self._max_bytes)
