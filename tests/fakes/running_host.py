"""A GPU host in a thread, served as `serve` does, whose engine waits in mid-render."""

import signal
import threading
from concurrent.futures import Future
from pathlib import Path

import uvicorn

from gpu_service.app import create_app
from gpu_service.server import SEND_SECONDS, Server
from gpu_service.settings import Settings
from tests.fakes.gated_engine import LONGEST_WAIT_SECONDS, HeldEngine
from tests.host_calls import FAKES


class RunningHost:
    """It runs until it is closed, or has been asked to stop.

    Args:
        folder: Takes its data.
        drain_seconds: How long its renders may take then.
    """

    def __init__(self, folder: Path, drain_seconds: float) -> None:
        settings = Settings(data_dir=folder, max_queue=1, engine_order="held")
        app = create_app(settings, FAKES)
        listening: Future[str] = Future()
        config = uvicorn.Config(
            app, host="127.0.0.1", port=0, log_config=None, timeout_graceful_shutdown=SEND_SECONDS
        )
        self.server = Server(config, app.state.renders, drain_seconds, listening.set_result)
        self.thread = threading.Thread(target=self.server.run)
        self.thread.start()
        self.url = listening.result(LONGEST_WAIT_SECONDS)
        self.engine = HeldEngine.latest
        """Waits after two seconds of video while its gate is shut."""

    def ask_to_stop(self) -> None:
        """As a service manager does."""
        self.server.handle_exit(signal.SIGTERM, None)

    def ended(self) -> bool:
        """Wait for its end."""
        self.thread.join(LONGEST_WAIT_SECONDS)
        return not self.thread.is_alive()

    def close(self) -> None:
        """End it at once."""
        self.engine.gate.set()
        for _ in range(2):
            self.ask_to_stop()
        self.thread.join()
