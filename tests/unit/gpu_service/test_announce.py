"""What a host says at its start."""

import pytest

from contracts.lipsync import EngineInfo, EngineStatus
from gpu_service.announce import (
    announcement,
    can_draw,
    directly,
    through_ssh,
    through_tunnel,
)

TOKEN = "t" * 32
INFO = EngineInfo(
    name="dream",
    title="",
    version="1",
    accepts=("photo",),
    streaming=False,
    look_ahead_seconds=0,
    licence="",
)
REASON = "its weights are missing. Run: python -m gpu_service weights fetch dream " + "word " * 40


def test_what_is_copied_stands_in_one_line() -> None:
    reach = through_tunnel("https://" + "a" * 60 + ".ngrok-free.dev", TOKEN, permanent=False)
    lines = announcement(reach, [EngineStatus(info=INFO, ready=False, reason=REASON)], 30)
    assert sum(reach.connection in line for line in lines.splitlines()) == 1
    assert sum(REASON in line for line in lines.splitlines()) == 1


def test_a_host_that_can_render_nothing_says_so() -> None:
    lone = announcement(directly("http://127.0.0.1:9000", "", loopback=True), [], 0)
    assert "Nothing can be rendered" in lone


def test_an_address_that_changes_is_said_to_change() -> None:
    notes = through_tunnel("https://a.example", TOKEN, permanent=False).notes
    assert "may be another one" in " ".join(notes)


@pytest.mark.parametrize("port", [9000, 65535])
def test_ssh_forwards_another_port(port: int) -> None:
    reach = through_ssh(f"http://127.0.0.1:{port}", TOKEN)
    (command,) = (note for note in reach.notes if "ssh" in note)
    here = command.split("-L ")[1].split(":")[0]
    assert here != str(port)
    assert 0 < int(here) <= 65535
    assert reach.connection == f"lipsync://{TOKEN}@localhost:{here}"


def test_no_code_is_drawn_where_the_terminal_cannot_show_it() -> None:
    assert can_draw("utf-8")
    assert can_draw(None)
    assert not can_draw("cp1252")
