import importlib
import os
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def torch() -> ModuleType:
    """torch; without it the test is skipped, or fails where continuous integration runs it."""
    try:
        return importlib.import_module("torch")
    except ModuleNotFoundError:
        words = "torch is not installed: python -m pip install torch==2.13.0"
        if os.environ.get("CI") == "true":
            pytest.fail(words)
        pytest.skip(words)
