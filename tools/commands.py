"""The commands of `run.py`."""

import argparse
import os
import signal
import subprocess
import sys
import time
import webbrowser
from pathlib import Path
from typing import NoReturn

from contracts.doctor.machine import port_is_free
from tools import services
from tools.demo import FACE, TEXT, DemoFailed, demo
from tools.doctor import doctor
from tools.environment import ROOT, Environment, SetupFailed, say
from tools.locks import lock, write_example

BENCHMARKS = sorted(
    path.stem for path in (ROOT / "benchmarks").glob("*.py") if path.stem != "report"
)
CHECKS = {
    "format": ["-m", "ruff", "format", "--check", "."],
    "lint": ["-m", "ruff", "check", "."],
    "types": ["-m", "mypy"],
    "imports": ["-c", "from importlinter.cli import lint_imports_command as run; run()"],
}


def run(arguments: list[str]) -> int:
    """Do what the command line says.

    Returns:
        The exit status.
    """
    for number in (signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
        signal.signal(number, _interrupt)  # so that the services are stopped on the way out
    parsed, rest = parser().parse_known_args(arguments)
    if rest and parsed.command not in ("test", "bench"):
        parser().error(f"unrecognized arguments: {' '.join(rest)}")
    try:
        return _do(parsed, rest)
    except (SetupFailed, DemoFailed, services.ServiceDied) as error:
        print(f"\n{error}", file=sys.stderr, flush=True)
        return 1
    except KeyboardInterrupt:
        say("stopped")
        return 130
    except BrokenPipeError:  # whoever read our output has gone; leave nothing to write at the exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _do(parsed: argparse.Namespace, rest: list[str]) -> int:
    match parsed.command:
        case "demo":
            demo(parsed)
        case "up":
            _up(parsed)
        case "test":
            return _test(rest)
        case "check":
            return _check()
        case "bench":
            return _bench(parsed.name, rest)
        case "lock":
            python = _with_dev()
            return lock(python, upgrade=parsed.upgrade) or write_example(python)
        case "env":
            return write_example(_with_dev())
        case "doctor":
            return doctor(json=parsed.json)
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(prog="run.py", description="LipSync Studio", allow_abbrev=False)
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    one = commands.add_parser("demo", help="make one talking video with everything that is here")
    one.add_argument("--face", type=Path, default=FACE, metavar="FILE", help="photo of a face")
    speech = one.add_mutually_exclusive_group()
    speech.add_argument("--text", default=TEXT, help="what the face says")
    speech.add_argument("--speech", type=Path, metavar="FILE", help="a recording instead of a text")
    one.add_argument(
        "--engine", default="auto", metavar="NAME", help="default: the best that is ready"
    )
    one.add_argument("--output", type=Path, default=Path("demo.mp4"), metavar="FILE")

    up = commands.add_parser("up", help="run the three services until Ctrl-C")
    configured = services.settings_of_the_person()
    for name, port in services.PORTS.items():
        default = configured.get(f"{name.upper()}_PORT") or str(port)
        help_text = f"default {default}; 0 takes a free one"
        up.add_argument(f"--{name}-port", type=_port, default=default, metavar="N", help=help_text)
    up.add_argument("--no-browser", action="store_true", help="open no page")

    commands.add_parser("test", help="run every test; more arguments go to pytest", add_help=False)
    commands.add_parser("check", help="format, lint, types and imports")
    bench = commands.add_parser(
        "bench", help="run a script of benchmarks/; more arguments go to it", add_help=False
    )
    bench.add_argument("name", choices=BENCHMARKS, metavar="|".join(BENCHMARKS))
    locks = commands.add_parser("lock", help="compile requirements/*.in and .env.example")
    locks.add_argument("--upgrade", action="store_true", help="take newer versions where allowed")
    commands.add_parser("env", help="write .env.example from the services' settings")
    looks = commands.add_parser("doctor", help="look for what is missing on this machine")
    looks.add_argument("--json", action="store_true", help="print JSON, for programs")
    return top


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port; take a number up to 65535")
    return int(text)


def _up(parsed: argparse.Namespace) -> NoReturn:
    free = services.free_ports()
    ports = {name: getattr(parsed, f"{name}_port") or free[name] for name in services.PORTS}
    for name, port in ports.items():
        if not port_is_free(port):
            raise services.ServiceDied(
                f"port {port} is in use by another program; stop it, or choose another port: "
                f"python3 run.py up --{name}-port {port + 1}"
            )
    environment = Environment()
    environment.ensure("default")
    logs = ROOT / ".data" / "logs"
    with services.running(environment.python, ROOT, services.wiring(ports), logs) as stack:
        say(f"starting; logs are in {logs}")
        stack.wait_until_healthy()
        say(f"ready: {stack.url}")
        if not parsed.no_browser and _has_screen():
            webbrowser.open(stack.url)
        while True:
            stack.check()
            time.sleep(0.5)


def _has_screen() -> bool:
    """Whether a page can be shown; a text browser would take over the terminal."""
    if sys.platform in ("win32", "darwin"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _test(arguments: list[str]) -> int:
    return _become([_with_dev(torch=True), "-m", "pytest", *arguments])


def _bench(name: str, arguments: list[str]) -> int:
    return _become([_with_dev(torch=True), "-m", f"benchmarks.{name}", *arguments])


def _become(command: list[str]) -> int:
    if os.name == "nt":  # there, exec returns to the shell while the new process still runs
        return subprocess.call(command, cwd=ROOT)
    os.chdir(ROOT)
    os.execv(command[0], command)


def _check() -> int:
    python = _with_dev(torch=True)
    failed = []
    for name, command in CHECKS.items():
        say(f"{name}:")
        if subprocess.call([python, *command], cwd=ROOT) != 0:
            failed.append(name)
    say(f"failed: {', '.join(failed)}" if failed else "all checks passed")
    return 1 if failed else 0


def _with_dev(*, torch: bool = False) -> str:
    environment = Environment()
    environment.ensure("dev")
    if torch:
        environment.ensure_torch()
    return os.fspath(environment.python)
