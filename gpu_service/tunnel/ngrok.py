"""Tunnels by ngrok: its agent, driven by pyngrok."""

import json
import logging
import os
import re
import subprocess
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from pyngrok import ngrok
from pyngrok.conf import PyngrokConfig
from pyngrok.exception import (
    PyngrokError,
    PyngrokNgrokError,
    PyngrokNgrokHTTPError,
    PyngrokNgrokInstallError,
)
from pyngrok.log import NgrokLog
from pyngrok.process import NgrokProcess
from yaml import YAMLError

from contracts.errors import TunnelFailed
from gpu_service.tunnel.base import Unopened
from gpu_service.tunnel.ngrok_errors import explain

log = logging.getLogger(__name__)

NAME: Final = "lipsync-studio"
"""Of the endpoint, in the agent's own list."""
START_SECONDS: Final = 30
"""How long the agent may take to reach ngrok."""
MAX_SILENT: Final = 3
"""So many questions in a row the agent may leave unanswered while its process runs."""
END_SECONDS: Final = 5.0
_CODE: Final = re.compile(r"ERR_NGROK_\d+")
_SECRET: Final = re.compile(r"(?i)(authtoken:?\s+)\S+")
_BROKEN_OFF: Final = (ConnectionError, HTTPException, ValueError)
"""What pyngrok lets through where the agent dies in the middle of an answer."""
_UNANSWERED: Final = (PyngrokError, OSError, *_BROKEN_OFF)


class Ngrok:
    """Opens tunnels by ngrok.

    Args:
        authtoken: Of an account; empty leaves it to ngrok's own configuration file.
        domain: Of that account, which the tunnel is to have; empty leaves the choice to ngrok,
            which gives an account without a plan its one domain.
    """

    def __init__(self, authtoken: str, domain: str) -> None:
        self._authtoken, self._domain = authtoken, domain
        _hush()

    def __call__(self, upstream: str, on_end: Callable[[], None]) -> "NgrokTunnel":
        """A tunnel from a public address to `upstream`.

        Raises:
            Unopened: ngrok's agent is not there, or ngrok refuses.
        """
        with self._config() as config:
            options = {"url": f"https://{self._domain}"} if self._domain else {}
            try:
                opened = ngrok.connect(upstream, name=NAME, pyngrok_config=config, **options)
                agent = ngrok.get_ngrok_process(config)
            except (*_UNANSWERED, YAMLError) as error:
                ngrok.kill(config)
                _close_pipe(error)
                # Not from the error: it holds what the agent said, the authtoken among it.
                raise self._translate(error) from None
        return NgrokTunnel(opened, agent, config, on_end, self._scrub)

    def give_up(self) -> None:
        """Nothing can be done: pyngrok waits for its agent, and ends it with this process."""

    @contextmanager
    def _config(self) -> Iterator[PyngrokConfig]:
        """How pyngrok is to start the agent; the file is read by the time the block ends."""
        config = PyngrokConfig(
            # Its own thread would keep all that the agent says; here one reads and forgets.
            monitor_thread=False,
            # Ctrl-C in the terminal must not reach the agent, through which renders still end.
            start_new_session=os.name == "posix",
            startup_timeout=START_SECONDS,
            config_version="3",
        )
        # pyngrok passes an authtoken as an argument, which every user of the machine can read.
        config.auth_token = None
        if not self._authtoken:
            yield config
            return
        with TemporaryDirectory(prefix="lipsync-ngrok-") as folder:
            file = Path(folder) / "ngrok.yml"
            file.touch(mode=0o600)
            # JSON is YAML, too.
            file.write_text(json.dumps({"version": "3", "agent": {"authtoken": self._authtoken}}))
            config.config_path = str(file)
            yield config

    def _translate(self, error: Exception) -> Unopened:
        if isinstance(error, PyngrokNgrokInstallError):
            return Unopened(
                TunnelFailed(
                    "ngrok's agent is not on this machine, and can't be downloaded",
                    hint="Get it from https://ngrok.com/download, and set PYNGROK_NGROK_PATH to "
                    "the file; or start with --tunnel none.",
                ),
                final=True,
            )
        if isinstance(error, _BROKEN_OFF):
            return Unopened(
                TunnelFailed(
                    f"ngrok's agent broke off: {_shortened(self._scrub(str(error)))}",
                    hint="It is tried again. If that stays, update the agent: ngrok update.",
                ),
                final=False,
            )
        if not isinstance(error, PyngrokError):
            return Unopened(
                TunnelFailed(
                    f"ngrok's agent can't be started: {_shortened(self._scrub(str(error)))}",
                    hint="Look whether `ngrok config check` finds a fault.",
                ),
                final=True,
            )
        said = str(error)
        if isinstance(error, PyngrokNgrokHTTPError):
            said = error.body
        elif isinstance(error, PyngrokNgrokError) and error.ngrok_error:
            said = error.ngrok_error
        code = _CODE.search(said)
        detail, hint, final = explain(code[0] if code else "", self._domain)
        if not detail:
            detail = f"ngrok says: {_shortened(self._scrub(said))}"
        named = f" ({code[0]})" if code else ""
        return Unopened(TunnelFailed(f"{detail}{named}", hint=hint), final=final)

    def _scrub(self, text: str) -> str:
        """What ngrok says, without the authtoken that it likes to repeat."""
        if self._authtoken:
            text = text.replace(self._authtoken, "…")
        return _SECRET.sub(r"\1…", text)


class NgrokTunnel:
    """A tunnel that ngrok's agent holds open."""

    def __init__(
        self,
        opened: ngrok.NgrokTunnel,
        agent: NgrokProcess,
        config: PyngrokConfig,
        on_end: Callable[[], None],
        scrub: Callable[[str], str],
    ) -> None:
        self.url = (opened.public_url or "").rstrip("/")
        self._uri = opened.uri
        self._agent, self._config = agent, config
        self._on_end, self._scrub = on_end, scrub
        self._num_silent = 0
        self._reader = threading.Thread(target=self._read, name="ngrok", daemon=True)
        self._reader.start()

    def fault(self) -> str:
        """Why nothing comes through it any more; empty while it stands."""
        if self._agent.proc.poll() is not None:
            return "ngrok's agent has ended"
        try:
            listed = ngrok.api_request(f"{self._agent.api_url}/api/endpoints")["endpoints"] or ()
            online = NAME in [each["name"] for each in listed]
        except (*_UNANSWERED, LookupError, TypeError):
            self._num_silent += 1
            return "ngrok's agent does not answer" if self._num_silent >= MAX_SILENT else ""
        self._num_silent = 0
        return "" if online else "ngrok has taken the address offline"

    def close(self) -> None:
        """Give the address back, and end the agent."""
        if self._agent.proc.poll() is None:
            with suppress(*_UNANSWERED):
                # Not by disconnect: it makes an agent's configuration anew where there is none.
                ngrok.api_request(f"{self._agent.api_url}{self._uri}", method="DELETE")
        ngrok.kill(self._config)
        self._reader.join(END_SECONDS)

    def _read(self) -> None:
        """Take what the agent says, which would stop once nobody did."""
        output = self._agent.proc.stdout
        assert output is not None  # noqa: S101 - pyngrok opens it
        with output:
            for line in output:
                said = NgrokLog(line)
                if said.lvl in ("ERROR", "CRITICAL"):
                    log.warning("ngrok: %s", self._scrub(f"{said.msg}: {said.err}")[:500])
        self._agent.proc.wait()
        self._on_end()


def _hush() -> None:
    """Keep pyngrok from logging: it repeats all that the agent says, the authtoken among it."""
    logging.getLogger("pyngrok").setLevel(logging.CRITICAL + 1)


def _shortened(text: str) -> str:
    words = " ".join(text.replace("\\r", " ").replace("\\n", " ").split())
    return words[:200] or "nothing"


def _close_pipe(error: Exception) -> None:
    """Close the pipe to an agent that failed to start.

    pyngrok holds on to it until this process ends, and one that tries for days would run out of
    files.
    """
    for frame, _ in traceback.walk_tb(error.__traceback__):
        agent = frame.f_locals.get("proc")
        if isinstance(agent, subprocess.Popen) and agent.stdout:
            agent.stdout.close()
