"""Which revision of the interface between backend and GPU host is spoken, and who must update."""

import re
from typing import Final, NamedTuple

from contracts.errors import VersionMismatch

PROGRAM_VERSION: Final = "0.1.0"
"""Of the whole project, as in pyproject.toml."""
API_HEADER: Final = "LipSync-Api"
"""Header with the sender's version, on every request and every answer between the two."""
_VERSION = re.compile(r"(\d{1,4})\.(\d{1,4})")


class ApiVersion(NamedTuple):
    """Versions with the same major number understand each other."""

    major: int
    minor: int
    """Grows with what one side may lack: an option, an address."""

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}"


API_VERSION: Final = ApiVersion(1, 1)
"""What this code speaks."""
FIRST_VERSION: Final = ApiVersion(1, 0)
"""What those speak that name none."""


def read_version(header: str | None) -> ApiVersion:
    """What the other side speaks; that of old ones where it says nothing that can be read."""
    match = _VERSION.fullmatch(header or "")
    return ApiVersion(int(match[1]), int(match[2])) if match else FIRST_VERSION


def require_understood(other: ApiVersion, *, other_is: str, we_are: str) -> None:
    """Say plainly who must update where two sides can't understand each other.

    Args:
        other: What the other side speaks.
        other_is: What to call it, such as `the GPU host`.
        we_are: What to call this side.

    Raises:
        VersionMismatch: The major versions differ.
    """
    if other.major == API_VERSION.major:
        return
    older, theirs = (other_is, we_are) if other < API_VERSION else (we_are, other_is)
    raise VersionMismatch(
        f"{other_is} speaks version {other} of the interface, {we_are} {API_VERSION}",
        hint=f"Update {older} to the version of {theirs}: run git pull there, and restart it.",
    )
