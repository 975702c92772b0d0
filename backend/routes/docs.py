"""The API on one page for people, made from OpenAPI; it works without the internet."""

from collections.abc import Iterator
from html import escape
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.openapi.utils import get_openapi
from fastapi.responses import HTMLResponse

from backend.routes.errors import problems
from backend.routes.health import OPEN_PATHS
from contracts.errors import LipSyncError, NotAuthorized, OriginRefused
from contracts.lipsync import LipSyncOptions
from contracts.problem import ErrorBody

router = APIRouter()

_OPTIONS = LipSyncOptions.model_fields

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
:root { color-scheme: light dark }
h2 { border-top: 1px solid #8888; padding-top: 1.5rem; font-size: 1.1rem }
pre { background: #8882; padding: .6rem; border-radius: 6px; overflow-x: auto }
table { border-collapse: collapse; width: 100% }
td { border-top: 1px solid #8884; padding: .3rem .6rem .3rem 0; vertical-align: top }
"""


@router.get("/docs", include_in_schema=False)
def show_docs(request: Request) -> HTMLResponse:
    """Every address with its fields, answers and examples."""
    api = request.app.openapi()
    operations = "".join(
        _operation(api, method, path, operation)
        for path, methods in api["paths"].items()
        for method, operation in methods.items()
    )
    title = escape(api["info"]["title"])
    return HTMLResponse(
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}: API</title>"
        "<meta name=viewport content='width=device-width'>"
        f"<style>{_STYLE}</style><h1>{title}: API</h1><p>{escape(api['info']['summary'])}</p>"
        "<p>For programs: <a href=/openapi.json>openapi.json</a>. "
        f"Every error is listed under <a href=/errors>/errors</a>.</p>{operations}</html>"
    )


def openapi(app: FastAPI) -> dict[str, Any]:
    """The API for programs."""
    if app.openapi_schema is None:
        schema = get_openapi(
            title=app.title, version=app.version, summary=app.summary, routes=app.routes
        )
        # Routes refer to it by name, see `problems`.
        schemas = schema["components"]["schemas"]
        schemas["ErrorBody"] = ErrorBody.model_json_schema()
        # FastAPI promises its own validation errors wherever a route takes a parameter.
        del schemas["HTTPValidationError"], schemas["ValidationError"]
        everywhere = problems(OriginRefused, LipSyncError)
        for path, operations in schema["paths"].items():
            guarded = everywhere if path in OPEN_PATHS else everywhere | problems(NotAuthorized)
            for operation in operations.values():
                answers = operation["responses"]
                if "HTTPValidationError" in str(answers.get("422")):
                    del answers["422"]
                common = {str(status): problem for status, problem in guarded.items()}
                operation["responses"] = dict(sorted((common | answers).items()))
        app.openapi_schema = schema
    return app.openapi_schema


def _operation(api: dict[str, Any], method: str, path: str, operation: dict[str, Any]) -> str:
    text, _, example = operation.get("description", "").partition("\n\n")
    rows = "".join(
        f"<tr><td><code>{escape(name)}</code><td>{escape(about)}"
        for name, about in (*_parameters(operation), *_fields(api, operation))
    )
    answers = "".join(
        f"<tr><td>{escape(status)}<td>{escape(answer['description'])}"
        for status, answer in operation["responses"].items()
    )
    return (
        f"<h2><code>{method.upper()} {escape(path)}</code></h2><p>{escape(text)}</p>"
        + (f"<pre>{escape(example.strip())}</pre>" if example else "")
        + (f"<h3>Fields</h3><table>{rows}</table>" if rows else "")
        + f"<h3>Answers</h3><table>{answers}</table>"
    )


def _parameters(operation: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for parameter in operation.get("parameters", ()):
        about = parameter.get("description", "")
        yield parameter["name"], f"{parameter['in']}. {about}".strip()


def _fields(api: dict[str, Any], operation: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for content in operation.get("requestBody", {}).get("content", {}).values():
        schema = api["components"]["schemas"][content["schema"]["$ref"].rpartition("/")[2]]
        required = schema.get("required", ())
        # A form's own fields before the options that both forms share.
        fields = sorted(schema["properties"].items(), key=lambda f: f[0] in _OPTIONS)
        for name, field in fields:
            default = field.get("default")
            note = " Required." if name in required else ""
            note += f" Default: {default}." if default not in (None, "") else ""
            yield name, field.get("description", "") + note
