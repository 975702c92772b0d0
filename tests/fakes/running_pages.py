"""The pages on a free loopback port, served as a person's are."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from waitress import wasyncore

from frontend.__main__ import create_server
from frontend.settings import Settings


@contextmanager
def running_pages(data_dir: Path, backend_url: str, **settings: Any) -> Iterator[str]:
    """Their address."""
    chosen = Settings(
        _env_file=None, backend_url=backend_url, data_dir=data_dir, port=0, **settings
    )  # type: ignore[call-arg]
    server = create_server(chosen)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.effective_port}"
    finally:
        _stop(server)
        thread.join()
        server.task_dispatcher.shutdown()
        server.close()


def _stop(server: Any) -> None:
    """Have its loop hang up, and end for want of anything to look after."""
    hung_up = threading.Event()

    def hang_up() -> None:
        # First, so that nobody comes in behind.
        wasyncore.dispatcher.close(server)
        for connection in list(server.active_channels.values()):
            connection.handle_close()
        hung_up.set()

    server.trigger.pull_trigger(hang_up)
    hung_up.wait()
    server._map.clear()
    server.trigger.pull_trigger()
