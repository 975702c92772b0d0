"""Every setting of the three services with its meaning and default, as the text of `.env.example`.

Unlike the rest of this package, it needs the default set: `python -m tools.env_example`.
"""

import json
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined, to_jsonable_python
from pydantic_settings import BaseSettings

import backend.settings
import frontend.settings
import gpu_service.settings
from tools.environment import ROOT

HEAD = """\
# Settings of the three services, each with its default. Copy this file to .env and uncomment what
# you change; a variable of the environment wins over .env. Written by `python3 run.py env`.
"""
SERVICES: dict[str, type[BaseSettings]] = {
    "The frontend: python -m frontend": frontend.settings.Settings,
    "The backend: python -m backend serve": backend.settings.Settings,
    "The GPU host: python -m gpu_service serve": gpu_service.settings.Settings,
}


def example() -> str:
    """The whole file."""
    return "\n".join([HEAD, *("\n".join(_section(*each)) for each in SERVICES.items())])


def _section(title: str, settings: type[BaseSettings]) -> Iterator[str]:
    yield f"# --- {title} ---\n"
    prefix = settings.model_config.get("env_prefix", "")
    for name, field in settings.model_fields.items():
        meaning = " ".join((field.description or "").split())
        yield from textwrap.wrap(meaning, 98, initial_indent="# ", subsequent_indent="# ")
        yield f"# {(prefix + name).upper()}={_default(field)}\n"


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True, validated_data={})
    if value is None or value is PydanticUndefined or isinstance(value, SecretStr):
        return ""
    if isinstance(value, Path) and value.is_relative_to(ROOT):
        value = value.relative_to(ROOT)  # the same text in every checkout
    if isinstance(value, Path):
        return value.as_posix()
    plain = to_jsonable_python(value)
    return plain if isinstance(plain, str) else json.dumps(plain)


if __name__ == "__main__":
    sys.stdout.write(example())
