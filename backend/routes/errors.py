"""Every error as problem details, and the catalogue of them."""

import http
import logging
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict
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
)
from contracts.lipsync import LipSyncOptions
from contracts.problem import PROBLEM_JSON

log = logging.getLogger(__name__)
router = APIRouter(tags=["about"])

DEFAULT_RETRY_AFTER_SECONDS = 5


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


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What OpenAPI says of the errors of a route."""
    # A reference instead of `model`, which would promise application/json as well.
    schema = {"$ref": "#/components/schemas/ErrorBody"}
    return {
        status: {
            "description": http.HTTPStatus(status).phrase,
            "content": {PROBLEM_JSON: {"schema": schema}},
        }
        for status in statuses
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
    app.add_exception_handler(Exception, _on_unforeseen)


def _request_id(request: Request) -> str:
    return str(request.scope.get("request_id", ""))


async def _on_lipsync_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, LipSyncError)  # noqa: S101 - registered for this class
    log.info("%s %s: %s", _request_id(request), error.code, error.detail)
    return problem(error, _request_id(request))


async def _on_validation_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for this class
    return problem(translate(error.errors()), _request_id(request))


def translate(errors: Any) -> InvalidInput:
    """The first fault, in words; the others show up once it is mended."""
    fault = errors[0]
    field = str(fault["loc"][-1])[:40]
    error = _describe(field, fault)
    if fault["loc"][0] == "body":
        error.field = field
    return error


def _describe(field: str, fault: Any) -> InvalidInput:
    if fault["type"] == "missing":
        return InvalidInput(f"the field {field!r} is missing")
    if fault["type"] == "extra_forbidden":
        return OptionRejected(f"there is no field {field!r}", hint=_allowed_fields())
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


def _allowed_fields() -> str:
    names = ", ".join(sorted(LipSyncOptions.model_fields))
    return f"The fields are image, text or audio, voice, language, callback_url, {names}."


async def _on_http_exception(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this class
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
    return problem(
        LipSyncError("the request failed in a way that nobody foresaw"), _request_id(request)
    )
