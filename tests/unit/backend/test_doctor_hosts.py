from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from backend.doctor import hosts as module
from backend.doctor.hosts import look_at_hosts
from backend.settings import Settings
from contracts.doctor.findings import Finding
from contracts.versions import API_VERSION, PROGRAM_VERSION
from tests.fakes.gpu_host import ENGINE, gpu_host
from tests.fakes.running_backend import running_backend
from tests.fakes.scripted_server import answer, scripted
from tools.services import free_ports

TOKEN = "Fs7-nobody-guesses-it-9qX"


@pytest.fixture
def look(tmp_path: Path) -> Callable[..., list[Finding]]:
    """What is found of the hosts, with settings of one's own."""

    def look(**chosen: object) -> list[Finding]:
        values = {"data_dir": tmp_path / "data", "port": free_ports()["backend"]} | chosen
        return look_at_hosts(Settings(_env_file=None, **values))  # type: ignore[arg-type, call-arg]

    return look


def of(topic: str, found: list[Finding]) -> Finding:
    (one,) = [each for each in found if each.topic == topic]
    return one


def faults(found: list[Finding]) -> list[Finding]:
    return [each for each in found if each.state == "fault"]


def answers(
    ahead_seconds: float = 0, api: str = str(API_VERSION), version: str = PROGRAM_VERSION
) -> list[bytes]:
    """What a host says of its health, and of its engines."""
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=ahead_seconds), usegmt=True)
    told = {"Content_Type": "application/json", "LipSync_Api": api, "Date": date}
    told["Connection"] = "close"
    health = f'{{"status": "ok", "engines_ready": ["x"], "version": "{version}"}}'
    return [answer(each, **told) for each in (health, f"[{ENGINE.model_dump_json()}]")]


def test_a_host_that_answers_to_the_token_is_well(look: Callable[..., list[Finding]]) -> None:
    with gpu_host(token=TOKEN) as host:
        found = look(gpu_url=host.url, gpu_token=TOKEN)
    assert faults(found) == []
    assert "answers, with counting" in of("hosts", found).what
    assert of("clock", found).state == "ok"


def test_another_token_is_a_fault_that_shows_neither(look: Callable[..., list[Finding]]) -> None:
    with gpu_host(token=TOKEN) as host:
        found = look(gpu_url=host.url, gpu_token="another-one")
    (fault,) = faults(found)
    assert "refuses the token" in fault.what
    assert "BACKEND_GPU_TOKEN=" in fault.fix
    assert TOKEN not in str(found)
    assert "another-one" not in str(found)


def test_another_web_server_is_no_gpu_host(look: Callable[..., list[Finding]]) -> None:
    page = answer("<html>Welcome</html>", Content_Type="text/html")
    with scripted(page, page) as server:
        (fault,) = faults(look(gpu_url=server.url))
    assert "no GPU host" in fault.what


def test_a_host_that_only_makes_whole_videos_is_worth_knowing(
    look: Callable[..., list[Finding]],
) -> None:
    missing = answer("<h1>Not Found</h1>", "404 NOT FOUND", Content_Type="text/html")
    only_post = answer("", "405 METHOD NOT ALLOWED", Allow="OPTIONS, POST")
    with scripted(missing, only_post) as server:
        found = of("hosts", look(gpu_url=server.url))
    assert found.state == "note"
    assert "/run-wav2lip alone" in found.what


def test_a_host_of_this_machine_that_does_not_run_is_no_fault(
    look: Callable[..., list[Finding]], monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"http://127.0.0.1:{free_ports()['gpu']}"
    assert faults(look(gpu_url=url)), "one that somebody has named"
    monkeypatch.setattr(Settings.model_fields["gpu_url"], "default", url)
    found = of("hosts", look(gpu_url=url))
    assert found.state == "note"
    assert found.fix == "python3 run.py up"


def test_no_host_at_all_is_a_fault(look: Callable[..., list[Finding]]) -> None:
    assert "there is no GPU host" in of("hosts", look(gpu_url="")).what


def test_a_host_without_an_engine_is_a_fault(
    look: Callable[..., list[Finding]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "tests.fakes.gpu_host.ENGINE", ENGINE.model_copy(update={"ready": False, "reason": "tired"})
    )
    with gpu_host() as host:
        (fault,) = faults(look(gpu_url=host.url))
    assert "no engine that is ready" in fault.what


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, None), (4, None), (-4, None), (3600, "ahead of"), (-3600, "behind"), (9, "ahead of")],
)
def test_a_clock_that_differs_by_more_than_five_seconds_is_a_fault(
    look: Callable[..., list[Finding]],
    monkeypatch: pytest.MonkeyPatch,
    seconds: float,
    words: str | None,
) -> None:
    # This machine's clock stands, so that it does not matter how late the host is asked.
    monkeypatch.setattr(module, "time", SimpleNamespace(time=datetime.now(UTC).timestamp))
    with scripted(*answers(ahead_seconds=seconds)) as server:
        found = of("clock", look(gpu_url=server.url))
    assert found.state == ("fault" if words else "ok")
    assert words is None or words in found.what


@pytest.mark.parametrize(("api", "who"), [("2.0", "the backend"), ("0.9", "the GPU host")])
def test_a_host_that_is_not_understood_says_who_must_update(
    look: Callable[..., list[Finding]], api: str, who: str
) -> None:
    with scripted(*answers(api=api)) as server:
        (fault,) = faults(look(gpu_url=server.url))
    assert fault.topic == "versions"
    assert api in fault.what
    assert fault.fix.startswith(f"Update {who} ")


@pytest.mark.parametrize(("api", "version"), [("1.0", "0.1.0"), ("1.1", "0.0.9"), ("", "")])
def test_a_host_that_is_older_and_understood_is_worth_knowing(
    look: Callable[..., list[Finding]], api: str, version: str
) -> None:
    with scripted(*answers(api=api, version=version)) as server:
        found = of("versions", look(gpu_url=server.url))
    assert found.state == "note"


def test_the_running_backend_is_asked_for_it_knows_the_tokens(
    look: Callable[..., list[Finding]], tmp_path: Path
) -> None:
    with (
        gpu_host(token=TOKEN) as host,
        running_backend(tmp_path / "its", host.url, gpu_token=TOKEN, token="its-own") as url,
    ):
        port = int(url.rpartition(":")[2])
        # Not what the settings say here, which is another token.
        found = look(port=port, token="its-own", gpu_url=host.url, gpu_token="old")
        assert faults(found) == []
        assert "answers, with counting" in of("hosts", found).what
        refused = look(port=port, token="wrong", gpu_url=host.url, gpu_token=TOKEN)
        assert "another token" in of("backend", refused).what
        assert "its-own" not in str(refused)
    assert faults(refused) == []


def test_what_the_running_backend_says_of_a_host_is_told(
    look: Callable[..., list[Finding]], tmp_path: Path
) -> None:
    with gpu_host(token=TOKEN) as host, running_backend(tmp_path / "its", host.url) as url:
        (fault,) = faults(look(port=int(url.rpartition(":")[2]), gpu_url=host.url))
    assert "refuses the token" in fault.what


def test_a_backend_of_another_version_is_to_be_started_again(
    look: Callable[..., list[Finding]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with gpu_host() as host, running_backend(tmp_path / "its", host.url) as url:
        monkeypatch.setattr(module, "PROGRAM_VERSION", "0.2.0")
        (fault,) = faults(look(port=int(url.rpartition(":")[2]), gpu_url=host.url))
    assert fault.topic == "versions"
    assert "run.py up" in fault.fix
