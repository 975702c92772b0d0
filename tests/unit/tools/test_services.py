import contextlib
import json
import os
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from dotenv import dotenv_values

from contracts.doctor.machine import port_is_free
from tools import services
from tools.environment import ROOT
from tools.services import ServiceDied, free_ports, read_dotenv, running, wiring

SERVICE = """
import http.server, json, os, sys
name = sys.argv[0].split(os.sep)[-2].removesuffix("_service").upper()
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps([sys.argv[1:], dict(os.environ)]).encode())
print(name, "listens", flush=True)
http.server.HTTPServer(("127.0.0.1", int(os.environ[name + "_PORT"])), Handler).serve_forever()
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Three services that answer every address with their arguments and environment."""
    for name in ("frontend", "backend", "gpu_service"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__main__.py").write_text(SERVICE)
    return tmp_path


def test_the_services_run_together_and_stop_when_the_block_is_left(project: Path) -> None:
    wired = wiring(free_ports(), isolated_in=project)
    python = Path(sys.executable)
    with running(python, project, wired, project / "logs") as stack:
        stack.wait_until_healthy()
        assert all(service.process.poll() is None for service in stack.services)
    assert all(service.process.poll() is not None for service in stack.services)
    assert all(port_is_free(port) for port in wired.ports.values())


def test_tokens_are_in_the_environment_and_not_on_the_command_line(project: Path) -> None:
    wired = wiring(free_ports(), isolated_in=project)
    with running(Path(sys.executable), project, wired, project / "logs") as stack:
        stack.wait_until_healthy()
        with urllib.request.urlopen(wired.url("gpu")) as answer:  # noqa: S310
            arguments, environment = json.load(answer)
    assert arguments == ["serve"]
    assert environment["GPU_TOKEN"] == wired.settings["BACKEND_GPU_TOKEN"]
    assert len(environment["GPU_TOKEN"]) >= 32


def test_a_service_that_dies_is_named_with_its_last_words_and_the_others_stop(
    project: Path,
) -> None:
    (project / "backend/__main__.py").write_text("raise SystemExit('the disk is full')")
    wired = wiring(free_ports(), isolated_in=project)
    with (
        pytest.raises(ServiceDied, match=r"(?s)the backend ended.*the disk is full"),
        running(Path(sys.executable), project, wired, project / "logs") as stack,
    ):
        stack.wait_until_healthy()
    assert all(service.process.poll() is not None for service in stack.services)


def test_a_service_that_never_becomes_healthy_is_quoted(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything = "json.dumps([sys.argv[1:], dict(os.environ)])"
    ailing = SERVICE.replace("200", "503")
    ailing = ailing.replace(everything, 'json.dumps({"detail": "no engine is ready"})')
    (project / "gpu_service/__main__.py").write_text(ailing)
    wired = wiring(free_ports(), isolated_in=project)
    with running(Path(sys.executable), project, wired, project / "logs") as stack:
        while not port_answers(wired.ports["gpu"]):
            stack.check()
        monkeypatch.setattr(services, "START_SECONDS", 0)
        with pytest.raises(ServiceDied, match=r"the GPU host was not ready .*: no engine is ready"):
            stack.wait_until_healthy()


def port_answers(port: int) -> bool:
    with contextlib.suppress(ConnectionError):
        socket.create_connection(("127.0.0.1", port)).close()
        return True
    return False


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children of it")
def test_what_was_started_ends_even_when_its_starter_is_killed() -> None:
    script = """
import os, sys
from tools import processes
child = "import sys, time; print('child runs', flush=True); time.sleep(20); print('late')"
processes.start([sys.executable, "-c", child], output=1)
sys.stdin.read()
"""
    command = [sys.executable, "-c", script]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as starter:
        assert starter.stdout is not None
        assert starter.stdout.readline() == b"child runs\n"
        starter.kill()
        # The child holds the other end of this pipe for as long as it lives.
        assert starter.stdout.read() == b""


@pytest.mark.skipif(os.name == "nt", reason="process groups are of POSIX")
def test_a_service_that_ignores_the_request_to_stop_is_killed(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "STOP_SECONDS", 0.2)
    stubborn = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + SERVICE
    (project / "gpu_service/__main__.py").write_text(stubborn)
    wired = wiring(free_ports(), isolated_in=project)
    with running(Path(sys.executable), project, wired, project / "logs") as stack:
        stack.wait_until_healthy()
    assert stack.services[0].process.returncode == -9


def test_a_port_that_another_program_uses_is_seen() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        assert not port_is_free(other.getsockname()[1])


def test_a_configured_gpu_host_wins_unless_isolated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BACKEND_GPU_URL", "https://gpu.example")
    monkeypatch.setenv("BACKEND_GPU_TOKEN", "theirs")
    ports = free_ports()
    shared = wiring(ports).settings
    theirs = {"BACKEND_GPU_URL": "https://gpu.example", "BACKEND_GPU_TOKEN": "theirs"}
    assert shared | theirs == shared
    alone = wiring(ports, isolated_in=tmp_path).settings
    assert alone["BACKEND_GPU_URL"] == f"http://127.0.0.1:{ports['gpu']}"
    assert alone["BACKEND_GPU_TOKEN"] == alone["GPU_TOKEN"]
    assert alone["GPU_TOKEN"] != shared["BACKEND_GPU_TOKEN"]


def test_a_dotenv_file_is_read_as_the_services_read_it(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    lines = ["# A=1", "A=1", "", " export B = two words  # why", 'C="a # b" # why', "D='x=y'"]
    lines += ["E=", "F=a#b", "G= # nothing"]
    path.write_text("\n".join(lines))
    assert read_dotenv(path) == dotenv_values(path)


def test_a_dotenv_file_of_somebody_else_is_left_to_doctor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def closed(*_: object, **__: object) -> str:
        raise PermissionError(13, "Permission denied")

    (tmp_path / ".env").touch()
    monkeypatch.setattr(Path, "read_text", closed)
    assert read_dotenv(tmp_path / ".env") == {}
