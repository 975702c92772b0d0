"""The three services as a person starts them, for tests that need the whole road."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tools import services
from tools.environment import ROOT


@contextmanager
def three_services(
    folder: Path, settings: Mapping[str, str] | None = None
) -> Iterator[services.Stack]:
    """The services as processes on free loopback ports, healthy, with only the offline voices.

    Args:
        folder: Takes their data and their logs.
        settings: What else they get in their environment.
    """
    wired = services.wiring(services.free_ports(), isolated_in=folder)
    wired = wired._replace(settings={**wired.settings, "BACKEND_GTTS": "false", **(settings or {})})
    with services.running(Path(sys.executable), ROOT, wired, folder / "logs") as stack:
        stack.wait_until_healthy()
        yield stack
