"""Faults planted at the edges of a machine: programs, sockets, folders, the environment."""

import contextlib
import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import NamedTuple

from backend.database import open_database
from backend.gpu.added import AddedHosts
from contracts.hosts import NewGpuHost
from contracts.versions import API_VERSION, PROGRAM_VERSION
from gpu_service.app import create_app
from gpu_service.settings import Settings
from gpu_service.weights.registry import weights_named
from gpu_service.weights.store import WeightsStore
from tests.fakes.gpu_host import ENGINE, gpu_host
from tests.fakes.scripted_server import answer, scripted
from tests.fakes.serving import serving
from tools.environment import ROOT
from tools.services import free_ports

OURS = ("FRONTEND_", "BACKEND_", "GPU_", "NGROK_", "PYNGROK_", "PYTHON")
"""How variables begin that a developer may have set, and that would count here."""
TOKEN = "Fs7-nobody-guesses-it-9qX"


class Machine:
    """A machine on which nothing is wrong, unless it is planted.

    Args:
        folder: Holds all that is on it.
        cleanup: Is left with the machine.
    """

    def __init__(self, folder: Path, cleanup: ExitStack) -> None:
        self.folder = folder
        self.cleanup = cleanup
        self.project = folder / "project"
        self.programs = folder / "bin"
        self.modules = folder / "modules"
        self.weights = folder / "weights"
        self.free_bytes: int | None = None
        """Of every disk; None as it is."""
        for each in (self.project, self.programs, self.modules, self.weights):
            each.mkdir()
        for name in ("contracts", "lipsync_client", "frontend", "backend", "gpu_service"):
            (self.project / name).symlink_to(ROOT / name)
        (self.project / ".venv").symlink_to(sys.prefix)
        (self.project / "requirements").mkdir()
        for lock in (ROOT / "requirements").glob("*.txt"):
            (self.project / "requirements" / lock.name).write_bytes(lock.read_bytes())
        host = cleanup.enter_context(gpu_host(token=TOKEN))
        self.environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(OURS) and not name.lower().endswith("_proxy")
        } | {
            "HOME": str(folder),
            "XDG_CONFIG_HOME": str(folder),
            "PATH": str(self.programs),
            "PYTHONPATH": str(self.modules),
            "BACKEND_GTTS": "false",
            "BACKEND_GPU_URL": host.url,
            "BACKEND_GPU_TOKEN": TOKEN,
            "GPU_WEIGHTS_DIR": str(self.weights),
        }
        self.environment |= {
            f"{name.upper()}_PORT": str(port) for name, port in free_ports().items()
        }

    def program(self, name: str, script: str) -> None:
        """Put a program on the PATH."""
        path = self.programs / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def module(self, name: str, text: str) -> None:
        """Put a module before the installed ones."""
        path = self.modules / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)

    def add_host(self, url: str, token: str = "") -> None:
        """Add a GPU host to the job database, as somebody did on the page."""
        folder = self.project / ".data" / "backend"
        folder.mkdir(parents=True, exist_ok=True)
        with contextlib.closing(open_database(f"sqlite:///{folder / 'jobs.sqlite3'}")) as database:
            AddedHosts(database).add(NewGpuHost(url=url, token=token), besides="")

    def add_scripted_host(self, ahead_seconds: float = 0, api: str = str(API_VERSION)) -> None:
        """Add a stand-in that is as it should be, but for its clock or its version."""
        health = f'{{"status":"ok","engines_ready":["x"],"version":"{PROGRAM_VERSION}"}}'
        date = format_datetime(datetime.now(UTC) + timedelta(seconds=ahead_seconds), usegmt=True)
        told = {"Content_Type": "application/json", "LipSync_Api": api, "Date": date}
        told["Connection"] = "close"
        answers = (health, f"[{ENGINE.model_dump_json()}]")
        server = scripted(*(answer(each, **told) for each in answers))
        self.add_host(self.cleanup.enter_context(server).url)

    def usage(self, _: Path) -> "Usage":
        """How full every disk is."""
        return Usage(10**12, 0, 10**11 if self.free_bytes is None else self.free_bytes)


class Usage(NamedTuple):
    """What shutil.disk_usage tells."""

    total: int
    used: int
    free: int


@contextmanager
def machine(folder: Path) -> Iterator[Machine]:
    """A machine on which nothing is wrong."""
    with ExitStack() as cleanup:
        yield Machine(folder, cleanup)


class Planted(NamedTuple):
    """A fault, and how it is told."""

    plant: Callable[[Machine], object]
    seen_by: str
    """`run.py`, or the service whose doctor sees it."""
    topic: str
    what: str
    """Words of what is found."""
    fix: str
    """Words of the line that mends it."""


def _package_is_missing(machine: Machine) -> None:
    lock = machine.project / "requirements" / "frontend.txt"
    lock.write_text(lock.read_text() + "\ntiny-package==9.1 \\\n    --hash=sha256:00\n")


def _port_is_taken(machine: Machine) -> None:
    other = machine.cleanup.enter_context(socket.create_server(("127.0.0.1", 0)))
    machine.environment["FRONTEND_PORT"] = str(other.getsockname()[1])


def _disk_is_full(machine: Machine) -> None:
    machine.free_bytes = 10**8


def _setting_cannot_be(machine: Machine) -> None:
    (machine.project / ".env").write_text("BACKEND_WORKERS=many\n")


def _data_cannot_be_read(machine: Machine) -> None:
    (machine.folder / "file").touch()
    machine.environment["FRONTEND_DATA_DIR"] = str(machine.folder / "file" / "data")


def _no_offline_voice(machine: Machine) -> None:
    nowhere = 'def get_library_path() -> str:\n    return "/nowhere/libespeak-ng.so"\n'
    machine.module("espeakng_loader.py", nowhere + "get_data_path = get_library_path\n")


def _google_is_silent(machine: Machine) -> None:
    silent = machine.cleanup.enter_context(socket.create_server(("127.0.0.1", 0)))
    machine.environment |= {
        "HTTPS_PROXY": f"http://127.0.0.1:{silent.getsockname()[1]}",
        "BACKEND_GTTS": "true",
        "BACKEND_GTTS_TIMEOUT_SECONDS": "0.3",
    }


def _host_is_away(machine: Machine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        url = f"http://127.0.0.1:{gone.getsockname()[1]}"
    machine.add_host(url)


def _token_is_wrong(machine: Machine) -> None:
    settings = Settings(_env_file=None, token=TOKEN, weights_dir=machine.weights)  # type: ignore[call-arg]
    url = machine.cleanup.enter_context(serving(create_app(settings)))
    machine.add_host(url, "another-one")


def _host_is_of_tomorrow(machine: Machine) -> None:
    machine.add_scripted_host(ahead_seconds=86_400)


def _host_speaks_another_version(machine: Machine) -> None:
    machine.add_scripted_host(api="2.0")


def _anybody_may_come(machine: Machine) -> None:
    machine.environment["BACKEND_HOST"] = "0.0.0.0"  # noqa: S104


def _token_can_be_guessed(machine: Machine) -> None:
    machine.environment |= {"GPU_HOST": "0.0.0.0", "GPU_TOKEN": "secret"}  # noqa: S104


def _ngrok_is_missing(machine: Machine) -> None:
    machine.environment |= {
        "GPU_TUNNEL": "ngrok",
        "GPU_TUNNEL_DOMAIN": "name.ngrok-free.dev",
        "NGROK_AUTHTOKEN": TOKEN,
    }


def _checkpoint_is_damaged(machine: Machine) -> None:
    file = machine.folder / "s3fd.pth"
    file.write_bytes(bytes(1000))
    store = WeightsStore(machine.weights)
    record = store.add(file, weights_named("s3fd"), lambda *_: None)
    (machine.weights / record.file).write_bytes(bytes(999) + b"1")


def _checkpoint_was_only_copied(machine: Machine) -> None:
    (machine.weights / "wav2lip_gan.pth").write_bytes(bytes(1000))


def _two_opencvs(machine: Machine) -> None:
    metadata = "Metadata-Version: 2.1\nName: opencv-python\nVersion: 4.12.0.88\n"
    machine.module("opencv_python-4.12.0.88.dist-info/METADATA", metadata)


def _driver_is_old(machine: Machine) -> None:
    # As nvidia-smi writes it: lines for programs when it is asked for some, else its table.
    machine.program(
        "nvidia-smi",
        'case "$1" in\n'
        "--query-gpu=*) echo 'NVIDIA T4, 470.82.01, 15109, 15000' ;;\n"
        "*) echo '| NVIDIA-SMI 470.82.01   Driver Version: 470.82.01   CUDA Version: 11.4 |' ;;\n"
        "esac",
    )
    machine.module("torch/__init__.py", "")
    version = "__version__ = '2.13.0+cu130'\ncuda: Optional[str] = '13.0'\nhip = None\n"
    machine.module("torch/version.py", version)


FAULTS = {
    "a package of the lock is missing": Planted(
        _package_is_missing, "run.py", "packages", "tiny-package 9.1 is missing", "run.py demo"
    ),
    "a port is taken": Planted(
        _port_is_taken, "run.py", "ports", "in use by another", "up --frontend-port"
    ),
    "the disk is full": Planted(_disk_is_full, "run.py", "disk", "only 0.1 GB", "df -h"),
    "a setting can't be": Planted(
        _setting_cannot_be,
        "backend",
        "settings",
        "WORKERS (from .env)",
        "BACKEND_WORKERS=8",
    ),
    "the data can't be read": Planted(
        _data_cannot_be_read, "run.py", "data", "Not a directory", "FRONTEND_DATA_DIR=…"
    ),
    "there is no offline voice": Planted(
        _no_offline_voice, "backend", "voices", "offline voice can't speak", "requirements/backend"
    ),
    "Google is silent": Planted(
        _google_is_silent, "backend", "voices", "Google's voice", "BACKEND_GTTS=false"
    ),
    "a GPU host is away": Planted(
        _host_is_away, "backend", "hosts", "no GPU host answers at", "gpu_service serve"
    ),
    "a GPU host refuses the token": Planted(
        _token_is_wrong, "backend", "hosts", "refuses the token", "add it with the token"
    ),
    "a GPU host's clock is wrong": Planted(
        _host_is_of_tomorrow, "backend", "clock", "ahead of", "timedatectl set-ntp true"
    ),
    "a GPU host is of another version": Planted(
        _host_speaks_another_version, "backend", "versions", "speaks version 2.0", "git pull"
    ),
    "anybody may come in": Planted(
        _anybody_may_come, "backend", "token", "BACKEND_HOST=0.0.0.0", "BACKEND_TOKEN="
    ),
    "a token can be guessed": Planted(
        _token_can_be_guessed, "gpu_service", "token", "GPU_TOKEN", "token_urlsafe"
    ),
    "ngrok is missing": Planted(
        _ngrok_is_missing, "gpu_service", "tunnel", "ngrok's agent is not here", "install_ngrok"
    ),
    "a checkpoint is damaged": Planted(
        _checkpoint_is_damaged, "gpu_service", "checkpoints", "s3fd is damaged", "fetch s3fd"
    ),
    "a checkpoint was only copied": Planted(
        _checkpoint_was_only_copied,
        "gpu_service",
        "checkpoints",
        "is not installed",
        "weights add",
    ),
    "two OpenCVs are installed": Planted(
        _two_opencvs, "gpu_service", "opencv", "opencv-python 4.12.0.88", "uninstall -y"
    ),
    "the driver is older than torch": Planted(
        _driver_is_old, "gpu_service", "torch", "CUDA 11.4", "nvidia-driver-580"
    ),
}
