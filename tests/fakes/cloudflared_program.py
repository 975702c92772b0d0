"""A stand-in for the program cloudflared: a quick tunnel, as far as its output tells."""

import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from tests.processes import is_running, wait_while_wanted


class CloudflaredStandIn:
    """An installed stand-in, and what the test wants of it.

    Args:
        folder: Takes the program, which is to be found there, and what it notes.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "cloudflared"
        self.path.write_text(
            f"#!{sys.executable}\n"
            f"import sys\nsys.path.insert(0, {str(Path(__file__).parents[2])!r})\n"
            "from tests.fakes.cloudflared_program import run\n"
            f"run({str(folder)!r})\n"
        )
        self.path.chmod(0o700)
        self.want("four-plain-words-here")

    def want(self, name: str) -> None:
        """The address that it gets from now on; empty lets it fail, `silent` say nothing."""
        (self.folder / "name").write_text(name)

    def starts(self) -> list[dict[str, Any]]:
        """Each start: its arguments and process id."""
        file = self.folder / "cloudflared.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def running(self) -> list[int]:
        """Process ids of those that run."""
        return [each["pid"] for each in self.starts() if is_running(each["pid"])]

    def crash(self) -> None:
        """Kill it."""
        os.kill(self.starts()[-1]["pid"], signal.SIGKILL)


def run(folder: str) -> None:
    """Be the program."""
    with (Path(folder) / "cloudflared.jsonl").open("a") as notes:
        notes.write(json.dumps({"pid": os.getpid(), "arguments": sys.argv[1:]}) + "\n")
    name = (Path(folder) / "name").read_text()
    if name != "silent":
        _say("INF Thank you for trying it: https://developers.cloudflare.com/cloudflare-one/apps")
        _say("INF Requesting new quick Tunnel on trycloudflare.com...")
        if not name:
            _say('failed to request quick Tunnel: Post "https://api.trycloudflare.com/tunnel": EOF')
            sys.exit(1)
        _say("INF +-------------------------------------+")
        _say(f"INF |  https://{name}.trycloudflare.com  |")
        _say("INF Registered tunnel connection connIndex=0")
    wait_while_wanted(threading.Event())


def _say(line: str) -> None:
    sys.stderr.write(f"2026-01-01T00:00:00Z {line}\n")
    sys.stderr.flush()
