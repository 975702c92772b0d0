"""Where secrets lie as files: one each, named like its setting in lower case."""

import os
from pathlib import Path

SECRETS_DIR = Path("/run/secrets")
"""Where Docker Compose and Podman put them, such as `/run/secrets/backend_token`."""


def secrets_dir() -> Path | None:
    """The folder of secrets, where there is one to read.

    A service's settings are read from it where neither the environment nor `.env` has them.
    pydantic-settings would warn of a folder that is missing.
    """
    return SECRETS_DIR if os.access(SECRETS_DIR, os.R_OK | os.X_OK) else None
