import json
import threading
from collections.abc import Iterable

import pytest

from contracts.doctor.findings import (
    Finding,
    as_json,
    as_text,
    exit_status,
    fault,
    from_json,
    look_at_all,
    note,
    well,
)

LINE = "sudo mend --everything --that --is --wrong --with --this --machine --at --once --please"
FOUND = [
    fault("disk", "it is full", "Nothing can be written.", LINE),
    well("memory", "there is much"),
    note("gpu", "there is none", "All runs on the processor.", "buy one"),
    well("cpu", "2 cores"),
]


def test_findings_come_back_from_their_json() -> None:
    document = as_json(FOUND)
    assert from_json(document) == FOUND
    assert json.loads(document)["version"] == 1
    assert json.loads(document)["findings"][1] == {
        "topic": "memory",
        "state": "ok",
        "what": "there is much",
        "why": "",
        "fix": "",
    }


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Traceback (most recent call last):",
        "[]",
        '{"version": 1}',
        '{"version": 2, "findings": []}',
        '{"version": 1, "findings": [{"topic": "disk"}]}',
        '{"version": 1, "findings": [{"topic": "disk", "state": "lost", "what": "x"}]}',
    ],
)
def test_what_is_no_document_of_findings_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        from_json(text)


def test_what_is_wrong_stands_last_and_its_line_is_whole() -> None:
    lines = as_text(FOUND, 60).splitlines()
    states = [line.split()[0] for line in lines if line and not line.startswith(" ")]
    assert states == ["ok", "ok", "note", "FAULT", "1"]
    assert lines[-1] == "1 fault; 1 note"
    (fix,) = [line for line in lines if line.strip().startswith("fix:")]
    assert fix.strip() == f"fix: {LINE}"
    assert all(len(line) <= 60 for line in lines if line != fix)


def test_topics_and_findings_stand_in_columns() -> None:
    told = as_text([well("checkpoints", "none"), well("gpu", "word " * 30)], 60).splitlines()
    assert {line[19] for line in told[:2]} == {"n", "w"}
    assert all(line.startswith(" " * 19 + "word") for line in told[2:-2])
    assert told[-1] == "nothing is wrong"


def test_only_a_fault_makes_the_exit_status_bad() -> None:
    assert exit_status(FOUND) == 1
    assert exit_status(FOUND[1:]) == 0
    assert exit_status([]) == 0


def test_what_is_looked_at_together_is_told_in_order() -> None:
    later_has_ended = threading.Event()

    def first() -> Iterable[Finding]:
        assert later_has_ended.wait(20), "they do not look at the same time"
        yield well("first", "1")

    def second() -> Iterable[Finding]:
        later_has_ended.set()
        return [well("second", "2"), well("second", "3")]

    found = look_at_all({"first": first, "second": second, "third": list}, 20)
    assert [each.what for each in found] == ["1", "2", "3"]


def test_what_hangs_is_a_fault_and_holds_up_nothing() -> None:
    never = threading.Event()

    def hang() -> Iterable[Finding]:
        never.wait()
        return []

    found = look_at_all({"hosts: mine": hang, "disk": lambda: [well("disk", "fine")]}, 0.2)
    never.set()
    assert [(each.topic, each.state) for each in found] == [("hosts", "fault"), ("disk", "ok")]
    assert "looking at mine had not ended" in found[0].what
    assert found[0].fix


def test_what_breaks_is_a_fault_and_the_rest_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", told.append)

    def broken() -> Iterable[Finding]:
        raise ZeroDivisionError

    found = look_at_all({"gpu": broken, "disk": lambda: [well("disk", "fine")]}, 20)
    assert [(each.topic, each.state) for each in found] == [("gpu", "fault"), ("disk", "ok")]
    assert told[0].exc_type is ZeroDivisionError, "nobody learns what broke"
