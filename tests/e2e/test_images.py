"""What each stage of the Dockerfile copies, installs and starts, in a clean environment.

So each service runs with nothing but its own folder, what it shares, and its own lock. No container
engine is needed: `tools.image_steps` does the steps of the stages here, without PyTorch.
"""

import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import av
import pytest
import requests

from tests.media import SAMPLES
from tests.processes import wait_until
from tools.image_steps import DOCKERFILE, Stage, perform, stages
from tools.services import free_ports

pytestmark = pytest.mark.slow
STAGES = stages(DOCKERFILE.read_text(encoding="utf-8"), {"ACCELERATOR": "none"})
TOKEN = "a-token-of-the-operator"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """Where each image is made; lipsync-api on top of gpu_service, as its stage is."""
    made = {name: tmp_path_factory.mktemp(name) for name in ("frontend", "backend", "gpu_service")}
    return made | {"lipsync-api": made["gpu_service"]}


class Container:
    """What an image's command does, started here."""

    def __init__(self, stage: Stage, folder: Path, settings: Mapping[str, str]) -> None:
        self.environment = perform(stage, folder)
        self._stage, self._app, self._log = stage, folder / "app", folder / "log"
        # The folders in which an image keeps data are the machine's own here, and ports are free.
        for name, value in self.environment.items():
            if value.startswith(("/data/", "/weights")):
                self.environment[name] = str(folder / value[1:])
        self.ports = free_ports()
        self.environment |= {f"{name.upper()}_PORT": str(port) for name, port in self.ports.items()}
        self.environment |= settings

    @contextmanager
    def running(self) -> Iterator[subprocess.Popen[bytes]]:
        """Started, and well by its own health check."""
        with self._log.open("wb") as log:
            process = subprocess.Popen(
                self._found(self._stage.command()),
                cwd=self._app,
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        with process:
            try:
                wait_until(lambda: process.poll() is not None or self.is_well())
                assert process.poll() is None, self.log()
                yield process
            finally:
                process.kill()

    def is_well(self) -> bool:
        """What the image's health check says."""
        check = self._found(self._stage.health_check())
        done = subprocess.run(check, env=self.environment, capture_output=True, check=False)
        return done.returncode == 0

    def log(self) -> str:
        return self._log.read_text(encoding="utf-8")

    def _found(self, command: list[str]) -> list[str]:
        scripts = self.environment["PATH"].split(os.pathsep)[0]
        return [str(Path(scripts) / command[0]), *command[1:]]


@pytest.mark.parametrize(
    ("image", "settings"),
    [
        ("frontend", {}),
        ("backend", {"BACKEND_TOKEN": TOKEN}),
        ("gpu_service", {"GPU_TOKEN": TOKEN}),
    ],
)
def test_a_service_starts_from_its_own_folder_and_lock_alone(
    image: str, settings: Mapping[str, str], folders: Mapping[str, Path]
) -> None:
    container = Container(STAGES[image], folders[image], settings)
    packages = list((folders[image] / "venv").rglob("site-packages/pytest"))
    assert not packages, "the environment is not clean"
    with container.running():
        assert TOKEN not in container.log()


def test_the_api_container_makes_a_video_and_stops_in_order(folders: Mapping[str, Path]) -> None:
    container = Container(STAGES["lipsync-api"], folders["lipsync-api"], {"BACKEND_GTTS": "false"})
    api = f"http://127.0.0.1:{container.ports['backend']}/generate-from-audio"
    with container.running() as process:
        told = re.search(r"Authorization: Bearer (\S+)'", container.log())
        assert told, container.log()
        files = {
            "image": (SAMPLES / "portrait.jpg").read_bytes(),
            "audio": (SAMPLES / "hello.flac").read_bytes(),
        }
        assert requests.post(api, files=files, timeout=60).status_code == 401
        headers = {"Authorization": f"Bearer {told[1]}"}
        answer = requests.post(api, files=files, headers=headers, timeout=240)
        assert answer.headers["content-type"] == "video/mp4", answer.text[:500]
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0, container.log()
    with av.open(BytesIO(answer.content)) as video:
        assert sum(1 for _ in video.decode(video=0)) == 50
    for port in container.ports.values():
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("127.0.0.1", port)).close()
