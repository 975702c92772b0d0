"""Files sent ahead of a render, in parts where the connection breaks."""

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Annotated, Final, NamedTuple

from fastapi import APIRouter, Header, Path, Request, Response
from fastapi.responses import JSONResponse
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from contracts.asgi import end_unread
from contracts.errors import Cancelled, InvalidInput, LipSyncError
from contracts.media import MediaView
from contracts.problem import PROBLEM_JSON, ErrorBody
from gpu_service.routes.errors import problem_answer
from gpu_service.routes.runs import Renders
from gpu_service.uploads import Uploads

_RANGE: Final = re.compile(r"bytes (\d{1,15})-(\d{1,15})/(\d{1,15})")
_ERROR = {
    "description": "Problem details",
    "content": {PROBLEM_JSON: {"schema": ErrorBody.model_json_schema()}},
}
Sha256 = Annotated[
    str, Path(pattern=r"^[0-9a-fA-F]{64}$", description="SHA-256 of the whole file, in hex.")
]

router = APIRouter(
    prefix="/media",
    tags=["media"],
    responses=dict.fromkeys((401, 404, 409, 413, 422, 503), _ERROR),
)


class ContentRange(NamedTuple):
    """Which bytes of a file a request carries."""

    first: int
    last: int
    size: int
    """Of the whole file."""


@router.get("/{sha256}", summary="How much of a file has arrived")
def get_media(request: Request, sha256: Sha256) -> MediaView:
    """What is whole can be named in `POST /render` by its hash."""
    uploads: Uploads = request.app.state.uploads
    return uploads.view(sha256.lower())


@router.put(
    "/{sha256}",
    summary="Send a file, or the rest of it",
    response_model=MediaView,
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/octet-stream": {"schema": {"type": "string"}}},
        }
    },
)
async def put_media(
    request: Request,
    sha256: Sha256,
    content_range: Annotated[
        str,
        Header(
            description="Which bytes these are: `bytes FIRST-LAST/SIZE`.",
            examples=["bytes 0-1048575/8388608"],
        ),
    ] = "",
) -> Response:
    """The body is exactly those bytes, as they are. They are kept as they come.

    A connection that breaks costs nothing: ask by GET how much has arrived, and send the rest.
    Bytes that are there already are passed over. Once all have come, their hash is verified.
    """
    body = _Body(request)
    answer: Response
    try:
        view = await _keep(request, body, sha256.lower(), parse_range(content_range))
    except LipSyncError as error:
        answer = problem_answer(request, error)
    else:
        answer = JSONResponse(view.model_dump(mode="json"))
    return answer if body.ended else _Early(answer, request.app.state.settings.max_upload_bytes)


async def _keep(request: Request, body: "_Body", sha256: str, asked: ContentRange) -> MediaView:
    """Take what comes of the file, unless it is there already."""
    renders: Renders = request.app.state.renders
    uploads: Uploads = request.app.state.uploads
    renders.require_open()
    num_announced = asked.last - asked.first + 1
    length = request.headers.get("content-length")
    if length is not None and int(length) != num_announced:
        raise _wrong_length(length, num_announced)
    part = await asyncio.to_thread(uploads.begin, sha256, *asked)
    if part is None:
        return uploads.view(sha256)
    num_bytes = 0
    try:
        async for piece in body.pieces():
            num_bytes += len(piece)
            await asyncio.to_thread(part.write, piece)
    except ClientDisconnect as gone:
        part.end()
        raise Cancelled("the caller has gone; what has come is kept") from gone
    view = await asyncio.to_thread(part.end)
    if num_bytes != num_announced:
        raise _wrong_length(num_bytes, num_announced)
    return view


def _wrong_length(num_bytes: int | str, num_announced: int) -> InvalidInput:
    return InvalidInput(
        f"the body has {num_bytes} bytes, and Content-Range says {num_announced}",
        field="Content-Range",
    )


def parse_range(text: str) -> ContentRange:
    """Read `bytes FIRST-LAST/SIZE`.

    Raises:
        InvalidInput: It is none.
    """
    match = _RANGE.fullmatch(text.strip())
    found = ContentRange(*map(int, match.groups())) if match else None
    if found is None or not found.first <= found.last < found.size:
        raise InvalidInput(
            f"{text[:60]!r} is no range of bytes",
            hint="It looks like: Content-Range: bytes 0-1048575/8388608.",
            field="Content-Range",
        )
    return found


class _Body:
    """A request's body, read piece by piece, and whether it has ended."""

    def __init__(self, request: Request) -> None:
        self._receive = request.receive
        self.ended = False

    async def pieces(self) -> AsyncIterator[bytes]:
        """What comes.

        Raises:
            ClientDisconnect: The caller has gone before the end.
        """
        while not self.ended:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self.ended = True
                raise ClientDisconnect
            self.ended = not message.get("more_body", False)
            if message.get("body"):
                yield message["body"]


class _Early(Response):
    """An answer that is given before the request's body has come; the rest of that is dropped.

    Many clients send everything before they read, and lose the answer if nobody takes it.
    """

    def __init__(self, answer: Response, drain_bytes: int) -> None:
        super().__init__(answer.body, answer.status_code, dict(answer.headers))
        self._drain_bytes = drain_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        del scope
        headers = {"status": self.status_code, "headers": self.raw_headers}
        await send({"type": "http.response.start", **headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
        await end_unread(receive, send, self._drain_bytes)
