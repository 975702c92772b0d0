"""Every error as problem details, and the catalogue of them."""

import errno
import logging
from collections.abc import Iterable
from typing import Any, Final

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict
from sqlalchemy.exc import OperationalError
from starlette.exceptions import HTTPException

from contracts.asgi import framework_error, problem_headers
from contracts.catalogue import catalogue
from contracts.errors import (
    InvalidInput,
    LipSyncError,
    MediaTooLarge,
    MethodNotAllowed,
    NotFound,
    OptionRejected,
    StorageFull,
)
from contracts.hosts import NewGpuHost
from contracts.lipsync import LipSyncOptions
from contracts.problem import PROBLEM_JSON

log = logging.getLogger(__name__)
router = APIRouter(tags=["about"])

DEFAULT_RETRY_AFTER_SECONDS = 5
_FORM_FIELDS: Final = (
    *("image", "text or audio", "voice", "language", "callback_url"),
    *sorted(LipSyncOptions.model_fields),
)
_JSON_FIELDS: Final = {"/gpu-hosts": tuple(NewGpuHost.model_fields)}


class ErrorEntry(BaseModel):
    """One kind of error."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    code: str
    """As in the `code` of an answer."""
    status: int
    """The HTTP status that comes with it."""
    title: str
    """What it means."""
    hint: str
    """What to do about it, unless the answer says it better."""
    retryable: bool
    """Whether the same request may succeed later."""


@router.get("/errors")
def list_errors() -> list[ErrorEntry]:
    """Every error that an answer may carry, with what to do about it."""
    return [
        ErrorEntry(
            code=code,
            status=error.http_status,
            title=error.title,
            hint=error.default_hint,
            retryable=error.retryable,
        )
        for code, error in sorted(catalogue().items())
    ]


def problems(*errors: type[LipSyncError]) -> dict[int | str, dict[str, Any]]:
    """What OpenAPI says of the errors of a route."""
    # A reference instead of `model`, which would promise application/json as well.
    schema = {"$ref": "#/components/schemas/ErrorBody"}
    said: dict[int | str, list[str]] = {}
    for error in errors:
        said.setdefault(error.http_status, []).append(f"{error.code}: {error.title}.")
    return {
        status: {"description": " ".join(words), "content": {PROBLEM_JSON: {"schema": schema}}}
        for status, words in said.items()
    }


def problem(error: LipSyncError, request_id: str) -> JSONResponse:
    """The error as an answer."""
    headers = problem_headers(error)
    if error.http_status in (429, 503):
        headers.setdefault("Retry-After", str(DEFAULT_RETRY_AFTER_SECONDS))
    body = error.body(request_id).model_dump(mode="json")
    return JSONResponse(body, error.http_status, headers=headers)


def install(app: FastAPI) -> None:
    """Have every error of the app answered as problem details."""
    app.add_exception_handler(LipSyncError, _on_lipsync_error)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(OSError, _on_storage_error)
    app.add_exception_handler(OperationalError, _on_storage_error)
    app.add_exception_handler(Exception, _on_unforeseen)


def _request_id(request: Request) -> str:
    return str(request.scope.get("request_id", ""))


async def _on_lipsync_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, LipSyncError)  # noqa: S101 - registered for this class
    log.info("%s %s: %s", _request_id(request), error.code, error.detail)
    return problem(error, _request_id(request))


async def _on_validation_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for this class
    fields = _JSON_FIELDS.get(request.url.path, _FORM_FIELDS)
    return problem(translate(error.errors(), fields), _request_id(request))


def translate(errors: Any, fields: Iterable[str] = _FORM_FIELDS) -> InvalidInput:
    """The first fault, in words; the others show up once it is mended.

    Args:
        errors: As pydantic tells them.
        fields: What may be sent.
    """
    fault = errors[0]
    where, *path = fault["loc"]
    # The last word: what follows it are positions in a list, or in the text of a body.
    named = [str(part)[:40] for part in path if isinstance(part, str)]
    if not named:
        return InvalidInput("the request's body is not JSON as it is described under /docs")
    error = _describe(named[-1], fault, fields)
    if where == "body":
        error.field = named[-1]
    return error


def _describe(field: str, fault: Any, fields: Iterable[str]) -> InvalidInput:
    if fault["type"] == "missing":
        return InvalidInput(f"the field {field!r} is missing")
    if fault["type"] == "extra_forbidden":
        names = ", ".join(fields)
        return OptionRejected(f"there is no field {field!r}", hint=f"The fields are {names}.")
    if "UploadFile" in fault["msg"]:
        return InvalidInput(f"the field {field!r} must be a file, sent as multipart/form-data")
    message = str(fault["msg"]).removeprefix("Value error, ")
    if option := LipSyncOptions.model_fields.get(field):
        if fault["type"] == "string_pattern_mismatch":  # a person reads no pattern
            message = f"It should look like {' or '.join(option.examples or ())}"
        return OptionRejected(
            f"{field}={str(fault.get('input'))[:40]!r}: {message}",
            hint=f"{field}: {option.description or ''}",
        )
    return InvalidInput(f"the field {field!r} can't be used: {message}")


async def _on_storage_error(request: Request, error: Exception) -> JSONResponse:
    if not _is_full(error):
        raise error
    log.error("%s failed: there is no room on the disk", _request_id(request))
    return problem(unforeseen(error), _request_id(request))


def unforeseen(error: Exception) -> LipSyncError:
    """What callers are told of an error that is none of theirs; the log says more."""
    if _is_full(error):
        return StorageFull("the backend's disk is full")
    return LipSyncError("the request failed in a way that nobody foresaw")


def _is_full(error: BaseException | None) -> bool:
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    return isinstance(error, OperationalError) and "disk is full" in str(error.orig)


async def _on_http_exception(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this class
    if _is_full(error.__cause__):  # while an upload came
        return problem(StorageFull("there is no room for the upload"), _request_id(request))
    ours = framework_error(error.status_code, error.detail)
    if isinstance(ours, NotFound):
        ours = NotFound(f"there is nothing at {request.url.path[:100]}")
    elif isinstance(ours, MethodNotAllowed):
        ours = MethodNotAllowed(f"{request.url.path[:100]} does not take {request.method}")
    elif "exceeded maximum size" in error.detail:
        ours = MediaTooLarge("a form field that is not a file is larger than 1 MB")
    answer = problem(ours, _request_id(request))
    answer.headers.update(error.headers or {})
    return answer


async def _on_unforeseen(request: Request, error: Exception) -> JSONResponse:
    # Starlette raises the error again after this answer, so the server logs it with its traceback.
    log.error("%s failed with %s", _request_id(request), type(error).__name__)
    return problem(unforeseen(error), _request_id(request))
