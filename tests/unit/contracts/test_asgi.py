"""The limit on bodies and the form of problems, for any ASGI service."""

import json
from collections.abc import Iterable
from typing import Any

import pytest

from contracts.asgi import (
    BodyLimit,
    Message,
    Receive,
    Scope,
    Send,
    framework_error,
    problem_headers,
    send_problem,
)
from contracts.errors import (
    EngineBusy,
    InvalidInput,
    LipSyncError,
    MediaTooLarge,
    MethodNotAllowed,
    NotAuthorized,
    NotFound,
)

pytestmark = pytest.mark.anyio
LIMIT = 100


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def echo_length(scope: Scope, receive: Receive, send: Send) -> None:
    """Reads the whole body and answers with its length; gives up when the caller goes."""
    length = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        length += len(message["body"])
        if not message.get("more_body"):
            break
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(length).encode()})


class Call:
    """One request through the limit, and what came back."""

    def __init__(self, chunks: Iterable[bytes], declared: int | None = None) -> None:
        self.chunks = list(chunks)
        self.headers = [] if declared is None else [(b"content-length", str(declared).encode())]
        self.sent: list[Message] = []
        self.taken = 0

    async def receive(self) -> Message:
        if not self.chunks:
            return {"type": "http.disconnect"}
        chunk = self.chunks.pop(0)
        self.taken += len(chunk)
        return {"type": "http.request", "body": chunk, "more_body": bool(self.chunks)}

    async def send(self, message: Message) -> None:
        self.sent.append(message)

    async def run(self) -> tuple[int, bytes]:
        scope: Scope = {"type": "http", "headers": self.headers}
        await BodyLimit(echo_length, LIMIT)(scope, self.receive, self.send)
        assert not self.sent[-1].get("more_body", False)
        return self.sent[0]["status"], b"".join(m.get("body", b"") for m in self.sent[1:])


async def test_a_body_within_the_limit_passes() -> None:
    assert await Call([b"x" * 60, b"x" * 40], declared=100).run() == (200, b"100")


async def test_a_declared_length_over_the_limit_is_refused() -> None:
    status, body = await Call([b"x" * 50], declared=101).run()
    assert (status, json.loads(body)["code"]) == (413, "MEDIA_TOO_LARGE")


async def test_a_body_that_grows_over_the_limit_is_refused() -> None:
    status, body = await Call([b"x" * 40] * 3).run()
    assert (status, json.loads(body)["code"]) == (413, "MEDIA_TOO_LARGE")


async def test_a_refused_body_is_taken_up_to_as_much_again_and_no_further() -> None:
    call = Call([b"x" * 10] * 1000, declared=10_000)
    await call.run()
    assert call.taken == LIMIT


async def test_other_protocols_pass() -> None:
    seen: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["type"])

    call = Call([])
    await BodyLimit(app, LIMIT)({"type": "lifespan"}, call.receive, call.send)
    assert seen == ["lifespan"]


async def test_a_problem_is_whole() -> None:
    call = Call([])
    await send_problem(call.send, EngineBusy("full", retry_after_seconds=2.5), request_id="id-1")
    headers = dict(call.sent[0]["headers"])
    body = json.loads(call.sent[1]["body"])
    assert call.sent[0]["status"] == 503
    assert headers[b"content-type"] == b"application/problem+json"
    assert int(headers[b"content-length"]) == len(call.sent[1]["body"])
    assert headers[b"retry-after"] == b"3"
    assert (body["code"], body["request_id"], body["retryable"]) == ("ENGINE_BUSY", "id-1", True)


async def test_who_lacks_the_token_is_told_how_to_send_it() -> None:
    assert problem_headers(NotAuthorized("no"))["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (404, NotFound),
        (405, MethodNotAllowed),
        (413, MediaTooLarge),
        (400, InvalidInput),
        (500, LipSyncError),
    ],
)
async def test_what_the_framework_finds_becomes_an_error_of_ours(
    status: int, expected: type[LipSyncError]
) -> None:
    assert type(framework_error(status, "why")) is expected
