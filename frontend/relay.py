"""The backend's HTTP through this origin: uploads and results pass as streams."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any, cast

import requests
from flask import Request, Response, current_app
from flask_wtf.csrf import CSRFError, validate_csrf
from werkzeug.sansio import multipart
from wtforms import ValidationError

from contracts.errors import InvalidInput, MediaTooLarge, TextTooLong
from contracts.jobs import JobView
from contracts.limits import MAX_UPLOAD_BYTES
from lipsync_client import LipSync
from lipsync_client.multipart import CHUNK_BYTES, Part

MAX_FIELD_BYTES = 64 * 1024
MAX_PARTS = 40

_ASKED = ("Range", "If-Range", "If-None-Match", "If-Modified-Since")
_ANSWERED = (
    "Content-Type",
    "Content-Length",
    "Content-Range",
    "Accept-Ranges",
    "ETag",
    "Last-Modified",
    "X-Engine",
    "X-Job-Id",
    "X-Stream",
    "X-Voice",
)


class ConsentMissing(InvalidInput):
    """The person has not said that the face and the voice may be used."""

    code = "CONSENT_MISSING"
    title = "Your agreement is missing"
    default_hint = "Tick the box that says you may use this face and voice."


class FormIncomplete(InvalidInput):
    """The form was cut short or is no upload form at all."""

    code = "FORM_INCOMPLETE"
    title = "The form did not arrive whole"
    http_status = 400
    default_hint = "Load the page again and send the form once more."


def backend() -> LipSync:
    """The backend of this app."""
    return cast(LipSync, current_app.extensions["lipsync"])


@dataclass
class UploadForm:
    """An upload form that is passed on while it is read; never held in memory.

    waitress gives a request to the app when all of it has come, and keeps more than 512 KiB of it
    in a temporary file; from there on nothing is copied.

    The CSRF token must be its first field: nothing reaches the backend before it is checked. The
    consent may come at any place; where it is missing, the upload is broken off before its end,
    so that the backend makes no job of it.

    Args:
        request: A multipart request whose body nobody has read.
        wanted: Names of the fields that the backend gets; others are dropped, and so are empty
            ones, which stand for the backend's defaults.
    """

    request: Request
    wanted: Collection[str]
    fields: dict[str, str] = field(default_factory=dict)
    """Plain fields seen so far; files are not kept."""

    def submit(self, kind: str) -> JobView:
        """Pass the form on to the backend's `/generate-from-<kind>`.

        Raises:
            CSRFError: The token is missing or wrong.
            ConsentMissing: The box is not ticked.
            LipSyncError: What the backend answered.
        """
        if (self.request.content_length or 0) > MAX_UPLOAD_BYTES:
            raise MediaTooLarge("The files are larger than 100 MB together.")
        parts = self._parts()
        self._check_token(parts)
        return backend().submit_parts(kind, self._passed_on(parts))

    def _check_token(self, parts: Iterator[Part]) -> None:
        first = next(parts, None)
        if first is None or first.name != "csrf_token":
            raise CSRFError("the token is not the first field")
        try:
            validate_csrf(self.fields["csrf_token"])
        except ValidationError as error:
            raise CSRFError(str(error)) from error

    def _passed_on(self, parts: Iterator[Part]) -> Iterator[Part]:
        for part in parts:
            if part.name in self.wanted:
                yield part
        if not self.fields.get("consent"):
            raise ConsentMissing("The box about the use of the face and the voice is not ticked.")

    def _parts(self) -> Iterator[Part]:
        events = _Events(self.request)
        while not isinstance(event := events.next(), multipart.Epilogue):
            if isinstance(event, multipart.Field):
                value = b"".join(events.content(MAX_FIELD_BYTES)).decode(errors="replace")
                self.fields[event.name] = value
                if value or event.name == "csrf_token":
                    yield Part.field(event.name, value)
            elif isinstance(event, multipart.File):
                yield from self._file(event, events)

    @staticmethod
    def _file(event: multipart.File, events: "_Events") -> Iterator[Part]:
        content = events.content()
        if event.filename:
            yield Part(event.name, content, event.filename, event.headers.get("content-type"))
        # What the receiver left unread must not be taken for the next part.
        for _ in content:
            pass


class _Events:
    """Events of a multipart body, read from the request as they are asked for."""

    def __init__(self, request: Request) -> None:
        boundary = request.mimetype_params.get("boundary", "")
        if request.mimetype != "multipart/form-data" or not boundary:
            raise FormIncomplete("This is not an upload form.")
        self._stream = request.stream
        self._decoder = multipart.MultipartDecoder(
            boundary.encode(), max_form_memory_size=4 * CHUNK_BYTES, max_parts=MAX_PARTS
        )

    def next(self) -> multipart.Event:
        try:
            while isinstance(event := self._decoder.next_event(), multipart.NeedData):
                self._decoder.receive_data(self._stream.read(CHUNK_BYTES) or None)
        except ValueError as error:
            raise FormIncomplete("The upload was cut short.") from error
        return event

    def content(self, limit: int | None = None) -> Iterator[bytes]:
        num_bytes, more = 0, True
        while more:
            event = self.next()
            if not isinstance(event, multipart.Data):
                raise FormIncomplete("The upload was cut short.")
            num_bytes += len(event.data)
            if limit is not None and num_bytes > limit:
                raise TextTooLong("The text is far too long.")
            more = event.more_data
            yield event.data


def relay_download(request: Request, path: str) -> Response:
    """The backend's answer to a GET, with its status and range headers, as a stream."""
    headers = {name: request.headers[name] for name in _ASKED if name in request.headers}
    # A compressed answer would not be the bytes that its ranges count.
    answer = backend().send("GET", path, headers={**headers, "Accept-Encoding": "identity"})
    chunks: Any = answer.iter_content(CHUNK_BYTES)
    return with_headers_of(answer, Response(chunks, status=answer.status_code))


def with_headers_of(answer: requests.Response, response: Response) -> Response:
    """The response, with those headers of the backend's answer that are for the browser."""
    for name in _ANSWERED:
        if name in answer.headers:
            response.headers[name] = answer.headers[name]
    response.call_on_close(answer.close)
    return response
