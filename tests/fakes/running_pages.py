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
        # Its loop ends when it has nothing left to look after, which only itself may take away.
        server.trigger.pull_trigger(lambda: wasyncore.close_all(server._map))
        thread.join(30)
        server.task_dispatcher.shutdown()
