"""`python -m frontend`: serve the pages."""

import logging
import sys
from typing import Any

import waitress

from contracts.settings_faults import settings_faults
from frontend.app import create_app
from frontend.settings import Settings

# Above the backend's limit, so that a file which is a little too large gets our page; waitress
# itself answers in bare text.
MAX_BODY_BYTES = 1_000_000_000

logger = logging.getLogger("frontend")


def create_server(settings: Settings) -> Any:
    """The pages on their address, not yet serving."""
    return waitress.create_server(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        threads=settings.threads,
        connection_limit=4 * settings.threads,
        max_request_body_size=MAX_BODY_BYTES,
        # Reads on while a request is being answered, and so notices when the browser leaves.
        channel_request_lookahead=1,
        # Browsers leave and the backend breaks off in the middle of an answer: no faults of ours.
        log_socket_errors=False,
        ident=None,
    )


def main() -> int:
    """Serve until interrupted; returns the exit status."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        settings = Settings()
    except ValueError as error:  # also where a secret's file can't be read
        print(settings_faults(error, "FRONTEND_"), file=sys.stderr)  # noqa: T201
        return 2
    server = create_server(settings)
    logger.info("listening on http://%s:%s", settings.host, server.effective_port)
    server.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
