"""What is wrong with a service's settings, in lines for the person who set them."""

import os
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from contracts.doctor.findings import Finding, fault, well
from contracts.doctor.machine import where_set
from contracts.secret_files import SECRETS_DIR

_DOES_NOT_START = "The service that reads it does not start."
S = TypeVar("S", bound=BaseModel)


def settings_faults(error: ValueError, prefix: str) -> str:
    """One line a fault, such as `BACKEND_PORT: Input should be less than or equal to 65535`.

    Args:
        error: What building the service's settings raised.
        prefix: How the names of the service's variables begin.
    """
    if not isinstance(error, ValidationError):
        return _unread(error)
    lines = []
    for each in error.errors(include_input=False, include_url=False):
        name = "".join(f"{prefix}{field}: ".upper() for field in each["loc"])
        lines.append(name + _message(each["msg"]))
    return "\n".join(lines)


def look_at_settings(kind: type[S], prefix: str, open_fix: str = "") -> tuple[S, list[Finding]]:
    """A service's settings, those that can't be at their defaults, and what is wrong with them.

    Args:
        kind: Its Settings.
        prefix: How the names of its variables begin.
        open_fix: The line that mends a host beyond loopback without a token, which is all that no
            single setting is to blame for.
    """
    replaced: dict[str, Any] = {}
    findings: list[Finding] = []
    while True:
        try:
            return kind(**replaced), findings or [well("settings", f"{prefix}* can be used")]
        except ValidationError as error:
            new = {}
            for each in error.errors(include_input=False, include_url=False):
                field = _field(kind, each["loc"], prefix)
                default = _default(kind.model_fields[field or "host"])
                new[field or "host"] = default
                findings.append(
                    _fault(prefix + field, each["msg"], default)
                    if field
                    else fault("token", _message(each["msg"]), _DOES_NOT_START, open_fix)
                )
            if new.keys() <= replaced.keys():
                raise
            replaced |= new
        except (OSError, UnicodeError) as error:
            if "_env_file" in replaced:
                raise
            replaced["_env_file"] = None
            mend = (
                'sudo chown "$USER" .env'
                if isinstance(error, PermissionError)
                else "save .env as plain text in UTF-8"
            )
            what = f".env can't be read: {error}"
            findings.append(fault("settings", what, "No service starts with it.", mend))
        except ValueError as error:
            if "_secrets_dir" in replaced:
                raise
            replaced["_secrets_dir"] = ()  # None would be the same folder again
            fix = f"ls -l {SECRETS_DIR}   # each as text, readable for this user"
            findings.append(fault("settings", _unread(error), _DOES_NOT_START, fix))


def _unread(error: ValueError) -> str:
    """Why a file with a setting can't be read."""
    cause = error.__cause__ or error
    if isinstance(cause, PermissionError):
        return (
            f"{cause.filename}: {cause.strerror}. Make it readable for the user that the service "
            "runs as; a folder that only you may enter can guard it."
        )
    return f"{error}: {cause}"


def _field(kind: type[BaseModel], place: tuple[int | str, ...], prefix: str) -> str:
    named = str(place[0]).lower().removeprefix(prefix.lower()) if place else ""
    return named if named in kind.model_fields else ""


def _default(field: FieldInfo) -> Any:
    return field.get_default(call_default_factory=True, validated_data={})


def _fault(setting: str, message: str, default: object) -> Finding:
    name = setting.upper()
    what = f"{name} (from {where_set(name)}): {_message(message)}"
    mend = f"unset {name}" if name in os.environ else f"{name}={default}   # in .env: the default"
    return fault("settings", what, _DOES_NOT_START, mend)


def _message(text: str) -> str:
    return text.removeprefix("Value error, ")
