"""`python -m frontend`: serve the pages."""

import logging
import sys

import waitress
from pydantic import ValidationError

from contracts.settings_faults import settings_faults
from frontend.app import create_app
from frontend.settings import Settings

# Above the backend's limit, so that a file which is a little too large gets our page; waitress
# itself answers in bare text.
MAX_BODY_BYTES = 1_000_000_000

logger = logging.getLogger("frontend")


def main() -> int:
    """Serve until interrupted; returns the exit status."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        settings = Settings()
    except ValidationError as error:
        print(settings_faults(error, "FRONTEND_"), file=sys.stderr)  # noqa: T201
        return 2
    server = waitress.create_server(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        threads=settings.threads,
        max_request_body_size=MAX_BODY_BYTES,
        ident=None,
    )
    logger.info("listening on http://%s:%s", settings.host, server.effective_port)
    server.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
