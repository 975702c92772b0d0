"""The backend and a GPU host in one container: where one of them ends, the container ends.

Started by the image lipsync-api, which holds of this package only what is imported here.
"""

import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tools import processes

SERVICES = {
    "GPU host": [sys.executable, "-m", "gpu_service", "serve"],
    "backend": [sys.executable, "-m", "backend", "serve"],
}
SECRETS = Path("/run/secrets")
STOP_SECONDS = 40
"""A GPU host has 30 s for the render that runs."""


def main() -> int:
    """Run both services until one ends, or this process is told to.

    Returns:
        0 when it was told to, else the exit status of the service that ended, or 1.
    """
    try:
        environment = with_tokens(os.environ)
    except OSError as error:
        print(
            f"{error.filename}: {error.strerror}. What is mounted over /data must let this in: "
            f"user {os.getuid()} must be able to write there.",
            file=sys.stderr,
        )
        return 1
    if not os.environ.get("BACKEND_TOKEN") and "BACKEND_TOKEN" in environment:
        # The only way to whoever starts the container without options; it is told in no other log.
        print(
            "Other machines may reach this container, so callers need its token:\n"
            f"  curl -H 'Authorization: Bearer {environment['BACKEND_TOKEN']}' "
            f"http://localhost:{environment.get('BACKEND_PORT', '8000')}/engines\n"
            "It is kept with the data; set BACKEND_TOKEN for one of your own.",
            flush=True,
        )
    return supervise(SERVICES, environment)


def with_tokens(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment of both services, with tokens where none are set, and joined.

    The backend's token is made once and kept in its data directory, so that it outlives the
    container; the GPU host's is for the backend beside it, and new in each start. A GPU host
    elsewhere that is named by BACKEND_GPU_URL takes the place of the one beside it.
    """
    made = dict(environment)
    if not made.get("BACKEND_TOKEN") and not (SECRETS / "backend_token").exists():
        made["BACKEND_TOKEN"] = _kept(Path(made.get("BACKEND_DATA_DIR", ".data/backend")) / "token")
    if not made.get("GPU_TOKEN"):
        made["GPU_TOKEN"] = secrets.token_urlsafe(24)
    if not made.get("BACKEND_GPU_URL"):
        made["BACKEND_GPU_URL"] = f"http://127.0.0.1:{made.get('GPU_PORT', '9000')}"
        made["BACKEND_GPU_TOKEN"] = made["GPU_TOKEN"]
    return made


def _kept(path: Path) -> str:
    """The token in a file, which is made where it is missing, for its owner alone."""
    if path.is_file() and (token := path.read_text(encoding="ascii").strip()):
        return token
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.{os.getpid()}")
    unfinished.touch(mode=0o600)
    unfinished.write_text(token := secrets.token_urlsafe(24), encoding="ascii")
    unfinished.replace(path)
    return token


def supervise(commands: Mapping[str, Sequence[str]], environment: Mapping[str, str]) -> int:
    """Run commands beside one another until one ends, or a signal asks all to.

    Args:
        commands: By what people call them; the last is stopped first.
        environment: Of each.

    Returns:
        As `main`.
    """
    over, asked = threading.Event(), threading.Event()

    def ask(*_: object) -> None:
        asked.set()
        over.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, ask)
    running: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for name, command in commands.items():
            running[name] = process = processes.start(
                command, output=sys.stdout.fileno(), env=environment
            )
            threading.Thread(target=_tell_end, args=(process, over), daemon=True).start()
        over.wait()
        ended = {name: code for name, each in running.items() if (code := each.poll()) is not None}
    finally:
        _stop(list(running.values()))
    if asked.is_set():
        return 0
    for name, code in ended.items():
        print(f"the {name} ended (exit status {code}), and so does the container", flush=True)
    return next((code for code in ended.values() if code > 0), 1)


def _tell_end(process: subprocess.Popen[bytes], over: threading.Event) -> None:
    process.wait()
    over.set()


def _stop(running: list[subprocess.Popen[bytes]]) -> None:
    """End all, those started last first, gently, then not."""
    deadline = time.monotonic() + STOP_SECONDS
    for process in reversed(running):
        processes.ask_to_end(process)
    for process in running:
        try:
            process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            processes.kill(process)
            process.wait()


if __name__ == "__main__":
    sys.exit(main())
