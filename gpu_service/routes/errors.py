"""Every error as problem details."""

import logging
from collections.abc import Iterable, Mapping
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from contracts.asgi import framework_error, problem_headers
from contracts.errors import InvalidInput, LipSyncError, MethodNotAllowed, NotFound
from contracts.versions import API_HEADER, API_VERSION

log = logging.getLogger(__name__)

_WHERE: Final = "The addresses that exist and their methods are described in /openapi.json."


def install(app: FastAPI) -> None:
    """Have every error of the app answered as problem details."""
    app.add_exception_handler(LipSyncError, _on_lipsync_error)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(Exception, _on_unforeseen)


def rejected_fields(errors: Iterable[Mapping[str, Any]]) -> str:
    """Pydantic's list of errors as one sentence that names each field."""
    return "; ".join(
        f"{'.'.join(str(part) for part in error['loc'] if part != 'body')}: {error['msg']}"
        for error in errors
    )


def problem_answer(request: Request, error: LipSyncError) -> JSONResponse:
    """The error as an answer."""
    request_id = str(request.scope.get("request_id", ""))
    log.info("request %s: %s, %s", request_id, error.code, error.detail)
    body = error.body(request_id).model_dump(mode="json")
    # Starlette sends what nobody foresaw from outside all layers, that of the version too.
    headers = problem_headers(error) | {API_HEADER: str(API_VERSION)}
    if render_id := getattr(request.state, "render_id", ""):
        headers["Render-Id"] = render_id
    return JSONResponse(body, error.http_status, headers=headers)


async def _on_lipsync_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, LipSyncError)  # noqa: S101 - registered for this class
    return problem_answer(request, error)


async def _on_validation_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for this class
    return problem_answer(request, InvalidInput(rejected_fields(error.errors())))


async def _on_http_exception(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this class
    ours = framework_error(error.status_code, error.detail)
    if isinstance(ours, NotFound):
        ours = NotFound(f"there is nothing at {request.url.path[:100]}", hint=_WHERE)
    elif isinstance(ours, MethodNotAllowed):
        detail = f"{request.url.path[:100]} does not take {request.method}"
        ours = MethodNotAllowed(detail, hint=_WHERE)
    answer = problem_answer(request, ours)
    answer.headers.update(error.headers or {})
    return answer


async def _on_unforeseen(request: Request, error: Exception) -> JSONResponse:
    # Starlette raises the error again after this answer, so the server logs its traceback.
    detail = "the request failed in a way that nobody foresaw"
    log.error("request %s failed with %s", request.scope.get("request_id"), type(error).__name__)
    return problem_answer(request, LipSyncError(detail))
