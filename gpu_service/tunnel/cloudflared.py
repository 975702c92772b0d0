"""Tunnels by cloudflared: quick ones, which need no account and have a new address each time."""

import logging
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Callable
from typing import Final

from contracts.errors import TunnelFailed
from gpu_service.tunnel.base import Unopened

log = logging.getLogger(__name__)

PROGRAM: Final = "cloudflared"
START_SECONDS: Final = 60.0
"""How long it may take until it names an address."""
END_SECONDS: Final = 5.0
_ADDRESS: Final = re.compile(r"https://(?!api\.)[a-z0-9-]+\.trycloudflare\.com\b")
_TROUBLE: Final = re.compile(r"\b(ERR|FTL)\b|failed", re.IGNORECASE)


def find_cloudflared() -> str:
    """Where the program is.

    Raises:
        TunnelFailed: It is not installed.
    """
    found = shutil.which(PROGRAM)
    if found is None:
        raise TunnelFailed(
            "cloudflared is not on this machine",
            hint="Install it, so that `cloudflared --version` answers; or start with --tunnel "
            "ngrok or --tunnel none.",
        )
    return found


class Cloudflared:
    """Opens tunnels by cloudflared.

    Args:
        program: Its path.
        start_seconds: How long it may take until it names an address.
    """

    def __init__(self, program: str, start_seconds: float = START_SECONDS) -> None:
        self._program, self._start_seconds = program, start_seconds
        self._opening: CloudflaredTunnel | None = None
        self._given_up = False

    def __call__(self, upstream: str, on_end: Callable[[], None]) -> "CloudflaredTunnel":
        """A tunnel from a new public address to `upstream`.

        Raises:
            Unopened: It names no address.
        """
        try:
            tunnel = CloudflaredTunnel(self._program, upstream, on_end)
        except OSError as error:
            raise Unopened(
                TunnelFailed(
                    f"cloudflared can't be started: {error.strerror}",
                    hint="Install it anew, so that `cloudflared --version` answers.",
                ),
                final=True,
            ) from error
        self._opening = tunnel
        if self._given_up:
            tunnel.close()
        if tunnel.wait_for_address(self._start_seconds):
            return tunnel
        tunnel.close()
        said = f": {tunnel.trouble}" if tunnel.trouble else ""
        raise Unopened(
            TunnelFailed(
                f"cloudflared has opened no tunnel{said}",
                hint="Look whether this machine reaches the internet; it is tried again.",
            ),
            final=False,
        )

    def give_up(self) -> None:
        """Open none any more: the program, which would outlive this one, is ended."""
        self._given_up = True
        if self._opening:
            self._opening.close()


class CloudflaredTunnel:
    """A tunnel that a process of cloudflared holds open."""

    def __init__(self, program: str, upstream: str, on_end: Callable[[], None]) -> None:
        self.url = ""
        self.trouble = ""
        """The last trouble that it told of."""
        self._on_end = on_end
        self._named = threading.Event()
        self._process = subprocess.Popen(  # noqa: S603 - the program that the person installed
            [program, "tunnel", "--no-autoupdate", "--url", upstream],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            # Ctrl-C in the terminal must not reach it, through which renders still end.
            start_new_session=os.name == "posix",
        )
        self._reader = threading.Thread(target=self._read, name=PROGRAM, daemon=True)
        self._reader.start()

    def wait_for_address(self, seconds: float) -> bool:
        """Whether it has named one within that time."""
        self._named.wait(seconds)
        return bool(self.url)

    def fault(self) -> str:
        """Why nothing comes through it any more; empty while it stands."""
        return "" if self._process.poll() is None else "cloudflared has ended"

    def close(self) -> None:
        """End the process, and with it the address."""
        self._process.terminate()
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(END_SECONDS)

    def _read(self) -> None:
        assert self._process.stdout is not None  # noqa: S101 - opened above
        with self._process.stdout as output:
            for line in output:
                self._note(line.strip())
        self._process.wait()
        self._named.set()
        self._on_end()

    def _note(self, line: str) -> None:
        address = _ADDRESS.search(line)
        if address and not self.url:
            self.url = address[0]
            self._named.set()
        elif _TROUBLE.search(line):
            self.trouble = line[:200]
            log.info("cloudflared: %s", self.trouble)
