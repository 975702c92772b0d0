"""What every request passes first: it gets its id, and who may not call is told so."""

import hmac
import ipaddress
import uuid
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from backend.routes.health import OPEN_PATHS
from backend.settings import Settings
from contracts.asgi import refuse, send_problem
from contracts.errors import LipSyncError, NotAuthorized, OriginRefused
from contracts.hosts import is_loopback


class Guard:
    """ASGI layer around everything else.

    Without it any web page could make this machine's browser post to localhost.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._max_bytes = settings.max_upload_bytes
        self._token = settings.token.get_secret_value().encode()
        self._beyond_loopback = not is_loopback(settings.host)
        self._hosts = {"localhost", settings.host.lower(), *_split(settings.allowed_hosts)}
        self._origins = set(_split(settings.allowed_origins))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer why not."""
        if scope["type"] in ("http", "websocket"):
            scope["request_id"] = uuid.uuid4().hex
            try:
                self._check(scope["path"], Headers(scope=scope))
            except (NotAuthorized, OriginRefused) as error:
                await self._refuse(error, scope, receive, send)
                return
        await self._app(scope, receive, send)

    async def _refuse(
        self, error: LipSyncError, scope: Scope, receive: Receive, send: Send
    ) -> None:
        if scope["type"] == "http":
            await refuse(error, scope, receive, send, drain_bytes=self._max_bytes)
        elif "websocket.http.response" in scope.get("extensions", {}):
            await send_problem(
                send, error, request_id=scope["request_id"], answers="websocket.http.response"
            )
        else:
            await send({"type": "websocket.close", "code": 1008, "reason": error.code})

    def _check(self, path: str, headers: Headers) -> None:
        host = headers.get("host", "")
        if not self._is_ours(_name(host)):
            raise OriginRefused(
                f"the backend is not known as {host[:80]!r}",
                hint="Use localhost, or name the host in BACKEND_ALLOWED_HOSTS.",
            )
        # Programs send no Origin; browsers send one with every POST and every socket.
        origin = headers.get("origin")
        if (
            origin is not None
            and origin not in self._origins
            and origin.rpartition("//")[2] != host
        ):
            raise OriginRefused(
                f"pages of {origin[:80]!r} may not call the backend",
                hint="Name the page's origin in BACKEND_ALLOWED_ORIGINS if you trust it.",
            )
        if self._token and path not in OPEN_PATHS:
            self._check_token(headers.get("authorization", ""))

    def _is_ours(self, name: str) -> bool:
        if name in self._hosts or is_loopback(name):
            return True
        # A foreign page can make a name of its own point here, but not an address.
        return self._beyond_loopback and _is_address(name)

    def _check_token(self, authorization: str) -> None:
        scheme, _, token = authorization.partition(" ")
        right = hmac.compare_digest(token.strip().encode(), self._token)
        if scheme.lower() != "bearer" or not right:
            raise NotAuthorized("the backend's token is missing or wrong")


def _split(names: str) -> list[str]:
    return [name.strip().lower() for name in names.split(",") if name.strip()]


def _name(host: str) -> str:
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
