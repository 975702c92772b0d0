import importlib
import os
import signal
from collections.abc import Iterator
from types import ModuleType

import pytest

from tests.exports import Exports


@pytest.fixture(scope="session", autouse=True)
def own_folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing that a GPU host keeps on this machine changes a test, nor what a test starts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GPU_WEIGHTS_DIR", str(tmp_path_factory.mktemp("no_weights")))
        patch.setenv("GPU_DATA_DIR", str(tmp_path_factory.mktemp("gpu_data")))
        yield


@pytest.fixture(scope="session", autouse=True)
def interruptible() -> None:
    """Shells start what runs in the background deaf to Ctrl-C, and so would be all it starts."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


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


@pytest.fixture(scope="session")
def exports(torch: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Exports:
    """Exports of the seeded generator, as `python -m gpu_service export` writes them."""
    return Exports(tmp_path_factory.mktemp("exports"))
