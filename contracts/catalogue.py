"""Every error by its code: for documentation, and to rebuild what another service answered."""

from collections.abc import Iterator
from typing import Any

from contracts.errors import LipSyncError, UpstreamError


def _tree(root: type[LipSyncError]) -> Iterator[type[LipSyncError]]:
    yield root
    for child in root.__subclasses__():
        yield from _tree(child)


def catalogue() -> dict[str, type[LipSyncError]]:
    """Every error class by its code."""
    return {error.code: error for error in _tree(LipSyncError)}


def from_body(body: dict[str, Any], status: int) -> LipSyncError:
    """Rebuild the error that another service answered with.

    Args:
        body: The parsed JSON of the answer; any shape, since it comes from outside.
        status: The answer's HTTP status, used when the body carries no code of ours.
    """
    detail = body.get("detail")
    error_class = catalogue().get(str(body.get("code")))
    if error_class is None:
        said = f": {str(detail)[:200]}" if detail else ""
        return UpstreamError(f"the other service answered {status}{said}")
    error = error_class(
        str(detail), hint=str(body.get("hint") or ""), field=str(body.get("field") or "")
    )
    error.request_id = str(body.get("request_id") or "")
    return error
