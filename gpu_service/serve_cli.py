"""The command `serve`: looks what can be rendered, listens, and says how to connect."""

import argparse
import logging
import os
import sys
from typing import Final

import uvicorn
from pydantic import SecretStr, ValidationError

from contracts.errors import InvalidInput, TunnelFailed
from contracts.settings_faults import settings_faults
from gpu_service.announce import (
    Reach,
    announcement,
    can_draw,
    directly,
    through_ssh,
    through_tunnel,
)
from gpu_service.app import create_app
from gpu_service.auth import kept_token
from gpu_service.server import SEND_SECONDS, Server
from gpu_service.settings import Settings
from gpu_service.tunnel.base import Opener
from gpu_service.tunnel.cloudflared import Cloudflared, find_cloudflared
from gpu_service.tunnel.keeper import TunnelKeeper
from gpu_service.tunnel.ngrok import Ngrok

FORCED: Final = 130
"""Exit status where a second Ctrl-C has ended it: that of a program which Ctrl-C ends."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command."""
    parser.add_argument(
        "--tunnel",
        choices=("ngrok", "cloudflared", "none"),
        help="how others reach this host; none says how to come by SSH (GPU_TUNNEL)",
    )
    parser.add_argument(
        "--domain",
        metavar="NAME",
        help="of your ngrok account: the address stays the same (GPU_TUNNEL_DOMAIN)",
    )
    parser.set_defaults(run=serve)


def serve(settings: Settings, options: argparse.Namespace) -> int:
    """Serve until it is asked to stop; gives the exit status.

    Raises:
        InvalidInput: What is asked for does not go together.
        TunnelFailed: The tunnel can't be opened, and trying again is in vain.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    settings = _asked(settings, options)
    open_tunnel = _opener(settings)
    made = _made_token(settings)
    if made:
        settings = settings.model_copy(update={"token": SecretStr(made)})
    host = _Host(settings, made, open_tunnel)
    host.run()
    if host.failure:
        raise host.failure
    if host.server.forced:
        # Threads that still render would be waited for.
        logging.shutdown()
        sys.stdout.flush()
        os._exit(FORCED)
    return 0


class _Host:
    """What runs, and who tells of it."""

    def __init__(self, settings: Settings, made_token: str, open_tunnel: Opener | None) -> None:
        self._settings = settings
        self._made_token = made_token
        self._token = settings.token.get_secret_value()
        self.failure: TunnelFailed | None = None
        app = create_app(settings)
        # Before anything else, since loading takes long, and this is what a person wants to know.
        self._statuses = app.state.engines.statuses()
        config = uvicorn.Config(
            app,
            host=settings.host,
            port=settings.port,
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=SEND_SECONDS,
        )
        self.server = Server(config, app.state.renders, settings.drain_seconds, self._on_listening)
        self._keeper = (
            TunnelKeeper(open_tunnel, self._on_address, self._on_failure) if open_tunnel else None
        )

    def run(self) -> None:
        """Returns once all has ended."""
        try:
            self.server.run()
        finally:
            if self._keeper:
                self._keeper.close()

    def _on_listening(self, address: str) -> None:
        settings = self._settings
        if self._keeper:
            _say(f"opening a tunnel by {settings.tunnel} ...")
            self._keeper.start(address)
        elif settings.tunnel == "none" and settings.loopback:
            self._tell(through_ssh(address, self._token))
        else:
            self._tell(directly(address, self._made_token, loopback=settings.loopback))

    def _on_address(self, url: str) -> None:
        settings = self._settings
        permanent = settings.tunnel == "ngrok" and bool(settings.tunnel_domain)
        self._tell(through_tunnel(url, self._token, permanent=permanent))

    def _on_failure(self, error: TunnelFailed) -> None:
        self.failure = error
        self.server.ask_to_end()

    def _tell(self, reach: Reach) -> None:
        # Printed and not logged: whoever starts the host needs the token, and no log may hold it.
        drawn = reach._replace(scan=reach.scan and can_draw(sys.stdout.encoding))
        _say(announcement(drawn, self._statuses, self._settings.drain_seconds))


def _asked(settings: Settings, options: argparse.Namespace) -> Settings:
    """The settings with what the command line says."""
    said = {"tunnel": options.tunnel, "tunnel_domain": options.domain}
    given = {name: value for name, value in said.items() if value is not None}
    try:
        settings = Settings(**given) if given else settings
    except ValidationError as error:
        raise InvalidInput(
            settings_faults(error, "GPU_"), hint="Correct --tunnel or --domain."
        ) from error
    if options.domain and settings.tunnel != "ngrok":
        raise InvalidInput(
            "only a tunnel by ngrok can have a domain of yours", hint="Add --tunnel ngrok."
        )
    return settings


def _made_token(settings: Settings) -> str:
    """A token where others can reach the host and none was set; else empty."""
    alone = settings.loopback and not settings.tunnel
    if alone or settings.token.get_secret_value():
        return ""
    return kept_token(settings.data_dir / "token")


def _opener(settings: Settings) -> Opener | None:
    if settings.tunnel == "ngrok":
        return Ngrok(settings.ngrok_authtoken.get_secret_value(), settings.tunnel_domain)
    if settings.tunnel == "cloudflared":
        return Cloudflared(find_cloudflared())
    return None


def _say(text: str) -> None:
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, "replace").decode(encoding) + "\n")
    sys.stdout.flush()
