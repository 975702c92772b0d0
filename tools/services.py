"""Start the three services as processes, watch them, and stop them whatever happens."""

import contextlib
import json
import os
import re
import secrets
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tools import processes
from tools.environment import ROOT

START_SECONDS = 120.0
STOP_SECONDS = 10.0
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
PORTS = {"frontend": 5000, "backend": 8000, "gpu": 9000}
NAMES = {"frontend": "frontend", "backend": "backend", "gpu": "GPU host"}
"""What people call each of `PORTS`."""


class ServiceDied(Exception):
    """A service ended or never became healthy; the message holds its last log lines."""


class Service(NamedTuple):
    """One running service."""

    name: str
    process: subprocess.Popen[bytes]
    health_url: str
    log: Path

    def last_lines(self, count: int = 15) -> str:
        """The end of its log, indented."""
        with self.log.open(encoding="utf-8", errors="replace") as file:
            return "".join(f"  {line.rstrip()}\n" for line in deque(file, count)) or "  (no log)\n"


class Stack(NamedTuple):
    """The three services, started."""

    url: str
    """Where the pages are."""
    services: tuple[Service, ...]

    def wait_until_healthy(self) -> None:
        """Return once every service answers its health check.

        Raises:
            ServiceDied: One ended, or took too long.
        """
        deadline = time.monotonic() + START_SECONDS
        for service in self.services:
            while ailment := _ailment(service.health_url):
                self.check()
                if time.monotonic() > deadline:
                    raise ServiceDied(
                        f"the {service.name} was not ready after {START_SECONDS:.0f} s: {ailment}. "
                        f"Its last log lines:\n{service.last_lines()}"
                    )
                time.sleep(0.1)

    def check(self) -> None:
        """Notice a service that ended.

        Raises:
            ServiceDied: One did.
        """
        for service in self.services:
            code = service.process.poll()
            if code is not None:
                raise ServiceDied(
                    f"the {service.name} ended (exit status {code}). "
                    f"Its last log lines:\n{service.last_lines()}"
                )


class Wiring(NamedTuple):
    """How the three services find one another."""

    ports: Mapping[str, int]
    """Where each of `PORTS` listens."""
    settings: Mapping[str, str]
    """What they get in their environment; there are no secrets on a command line, which every
    user of the machine can read."""

    def url(self, name: str) -> str:
        """The address of a service."""
        return f"http://127.0.0.1:{self.ports[name]}"


def wiring(ports: Mapping[str, int], *, isolated_in: Path | None = None) -> Wiring:
    """Settings that join three services on loopback, with fresh tokens.

    Args:
        ports: Where each of `PORTS` listens.
        isolated_in: Keep data there and heed no address, token or database that the person has
            configured; None lets the environment and `.env` win, such as for a GPU host elsewhere.
    """
    configured = {} if isolated_in else settings_of_the_person()
    # Left running for a person with curl, the backend asks for a token only where one is set.
    backend_token = (
        secrets.token_urlsafe(24) if isolated_in else configured.get("BACKEND_TOKEN", "")
    )
    gpu_token = configured.get("GPU_TOKEN") or secrets.token_urlsafe(24)
    bare = Wiring(ports, {})
    settings = {
        "FRONTEND_BACKEND_URL": bare.url("backend"),
        "FRONTEND_BACKEND_TOKEN": backend_token,
        "BACKEND_TOKEN": backend_token,
        "BACKEND_GPU_URL": bare.url("gpu"),
        "BACKEND_GPU_TOKEN": gpu_token,
        "GPU_TOKEN": gpu_token,
        # Its jobs are not lost when all three stop together: they go on at the next start.
        "GPU_DRAIN_SECONDS": "0",
    }
    settings |= {name: configured[name] for name in settings if configured.get(name)}
    settings |= {f"{name.upper()}_PORT": str(port) for name, port in ports.items()}
    settings["GPU_TUNNEL"] = (
        ""  # what a tunnel's host prints holds its token, and here goes to a log
    )
    if isolated_in:
        settings |= {f"{name.upper()}_HOST": "127.0.0.1" for name in ports}
        settings |= {f"{name.upper()}_DATA_DIR": str(isolated_in / name) for name in ports}
        settings["BACKEND_DATABASE_URL"] = ""
    return Wiring(ports, settings)


def settings_of_the_person(root: Path = ROOT) -> dict[str, str]:
    """What `.env` and the environment say; the environment wins, as in the services.

    Args:
        root: The project's folder.
    """
    return read_dotenv(root / ".env") | dict(os.environ)


def read_dotenv(path: Path) -> dict[str, str]:
    """The settings in a `.env` file, as python-dotenv reads them, less its escapes."""
    if not path.is_file():
        return {}
    # A file that can't be read, or is no UTF-8, is told by `doctor`, and must not end it.
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except PermissionError:
        return {}
    pairs = re.findall(r"^[ \t]*(?:export +)?(\w+)[ \t]*=[ \t]*(.*)$", text, re.M)
    return {name: _unquoted(value) for name, value in pairs}


def _unquoted(value: str) -> str:
    """A value without its quotes, or without the comment behind it."""
    quoted = re.match(r"""(["'])(.*?)\1""", value)
    return quoted[2] if quoted else re.sub(r"(^|\s+)#.*", "", value).strip()


@contextmanager
def running(python: Path, root: Path, wired: Wiring, logs: Path) -> Iterator[Stack]:
    """The three services, for as long as the block lasts.

    Args:
        python: The interpreter that has the default set.
        root: The project's folder.
        wired: Where they listen and how they find one another.
        logs: The folder that takes their log files.
    """
    logs.mkdir(parents=True, exist_ok=True)
    # A proxy in the environment is for the internet, not for the way between the services.
    here = ",".join(filter(None, (os.environ.get("no_proxy"), "127.0.0.1,localhost")))
    environment = os.environ | {"PYTHONUNBUFFERED": "1", "PYTHONUTF8": "1"} | dict(wired.settings)
    environment |= {"no_proxy": here, "NO_PROXY": here}
    # Set-up leaves compiling to the first start; without its result each start takes 10 s.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    commands = {
        "gpu": (["gpu_service", "serve"], "/health"),
        "backend": (["backend", "serve"], "/health/ready"),
        "frontend": (["frontend"], "/health"),
    }
    started: list[Service] = []
    try:
        for name, (module, path) in commands.items():
            log = logs / f"{name}.log"
            with log.open("wb") as output:
                process = processes.start(
                    [str(python), "-m", *module], output=output, cwd=root, env=environment
                )
            started.append(Service(NAMES[name], process, wired.url(name) + path, log))
        yield Stack(f"http://localhost:{wired.ports['frontend']}", tuple(started))
    finally:
        stop(started)


def stop(services: list[Service]) -> None:
    """End the services and everything that they started, gently, then not."""
    with _signals_ignored():
        for service in reversed(services):
            processes.ask_to_end(service.process)
        deadline = time.monotonic() + STOP_SECONDS
        for service in services:
            try:
                service.process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                processes.kill(service.process)
                service.process.wait()
            else:
                processes.kill(service.process)  # what it may have left in its group


@contextmanager
def _signals_ignored() -> Iterator[None]:
    """Keep a second Ctrl-C from interrupting the clean-up."""
    numbers = [signal.SIGINT, signal.SIGTERM]
    before = [signal.signal(number, signal.SIG_IGN) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _ailment(url: str) -> str:
    """What a health check says is wrong; empty where nothing is."""
    try:
        with _DIRECT.open(url, timeout=5):
            return ""
    except urllib.error.HTTPError as error:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            return str(json.load(error)["detail"])
        return f"it answers {error.code}"
    except OSError as error:
        return f"it does not answer ({error})"


def free_ports() -> dict[str, int]:
    """A free loopback port for each service; held together, so that they differ."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in PORTS]
    ports = [held.getsockname()[1] for held in sockets]
    for held in sockets:
        held.close()
    return dict(zip(PORTS, ports, strict=True))
