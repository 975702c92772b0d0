"""What `doctor` finds: one shape for every machine, as lines for people and JSON for programs.

Standard library only: it is needed where nothing is installed yet.
"""

import json
import textwrap
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Literal, NamedTuple, get_args

State = Literal["ok", "note", "fault"]
"""`note` is worth knowing and hinders nothing; `fault` is wrong."""
JSON_VERSION: Final = 1
"""Grows when what programs read of the JSON changes its meaning."""
_MARGIN: Final = 19
"""Columns before what was found: those of the state and of the topic."""


class Finding(NamedTuple):
    """One thing that was looked at."""

    topic: str
    """What it is about, in a word, such as `disk`."""
    state: State
    what: str
    """What was found."""
    why: str = ""
    """Why it matters; empty where all is well."""
    fix: str = ""
    """The line that mends it; every fault has one."""


def well(topic: str, what: str) -> Finding:
    """Nothing is wrong here."""
    return Finding(topic, "ok", what)


def note(topic: str, what: str, why: str = "", fix: str = "") -> Finding:
    """Worth knowing, and no fault."""
    return Finding(topic, "note", what, why, fix)


def fault(topic: str, what: str, why: str, fix: str) -> Finding:
    """Something is wrong."""
    return Finding(topic, "fault", what, why, fix)


def exit_status(findings: Iterable[Finding]) -> int:
    """1 where there is a fault, else 0."""
    return int(any(finding.state == "fault" for finding in findings))


def as_json(findings: Sequence[Finding]) -> str:
    """Findings for programs: `{"version": 1, "findings": [{"topic": …, "state": …}, …]}`."""
    listed = [finding._asdict() for finding in findings]
    return json.dumps({"version": JSON_VERSION, "findings": listed}, indent=1)


def from_json(text: str) -> list[Finding]:
    """What `as_json` wrote.

    Raises:
        ValueError: It is something else.
    """
    try:
        found = json.loads(text)
        findings = [Finding(**each) for each in found["findings"]]
    except (TypeError, KeyError) as error:
        raise ValueError("these are no findings") from error
    if found["version"] != JSON_VERSION or any(
        each.state not in get_args(State) for each in findings
    ):
        raise ValueError("these are findings of another version")
    return findings


def as_text(findings: Sequence[Finding], width: int = 80) -> str:
    """Findings for people: what is well first and what is wrong last, next to the prompt.

    Args:
        findings: In the order in which those of a kind are told.
        width: Columns of the terminal. Lines to copy are left whole.
    """
    ordered = sorted(findings, key=lambda each: get_args(State).index(each.state))
    blocks = ["\n".join(_lines(finding, width)) for finding in ordered]
    loud = [each for each in ordered if each.state != "ok"]
    # A blank line before each thing to read makes the rest a list to pass over.
    first = len(ordered) - len(loud)
    quiet = "\n".join(blocks[:first])
    return "\n\n".join(filter(None, [quiet, *blocks[first:], _verdict(loud)]))


def _lines(finding: Finding, width: int) -> list[str]:
    state = "FAULT" if finding.state == "fault" else finding.state
    indent = " " * _MARGIN
    start = f"{state:6} {finding.topic:11} "
    lines = _wrapped(finding.what, start, indent, width)
    if finding.why:
        lines += _wrapped(finding.why, indent, indent, width)
    if finding.fix:
        # Whole, so that it can be copied.
        lines.append(f"{indent}{'fix' if finding.state == 'fault' else 'how'}: {finding.fix}")
    return lines


def _wrapped(text: str, start: str, indent: str, width: int) -> list[str]:
    return textwrap.wrap(
        text,
        max(width, 2 * _MARGIN),
        initial_indent=start,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _verdict(loud: Sequence[Finding]) -> str:
    faults = sum(each.state == "fault" for each in loud)
    notes = len(loud) - faults
    told = f"{faults} fault{'s' * (faults != 1)}" if faults else "nothing is wrong"
    return f"{told}; {notes} note{'s' * (notes != 1)}" if notes else told


Look = Callable[[], Iterable[Finding]]
"""Looks at something."""


def look_at_all(looks: Mapping[str, Look], seconds: float) -> list[Finding]:
    """What everything finds, in the order of `looks`; all look at the same time.

    Args:
        looks: By their topics, each with a colon and a name where several have the same.
        seconds: How long they may take together.
    """
    found: dict[str, list[Finding]] = {}

    def run(topic: str, look: Look) -> None:
        found[topic] = list(look())

    # Daemons: one that hangs in a driver must not keep the program from ending.
    threads = {
        topic: threading.Thread(target=run, args=(topic, look), daemon=True)
        for topic, look in looks.items()
    }
    deadline = time.monotonic() + seconds
    for thread in threads.values():
        thread.start()
    findings: list[Finding] = []
    for topic, thread in threads.items():
        thread.join(max(0.0, deadline - time.monotonic()))
        hangs = thread.is_alive()
        findings += found[topic] if topic in found else [_unseen(topic, seconds, hangs=hangs)]
    return findings


def _unseen(name: str, seconds: float, *, hangs: bool) -> Finding:
    topic, _, which = name.partition(": ")
    if hangs:
        return fault(
            topic,
            f"looking at {which or 'this'} had not ended after {seconds:.0f} s",
            "A driver, a disk or a network that it asks does not answer; a service that asks the "
            "same waits likewise.",
            "run this again; if it stays so, restart the machine",
        )
    return fault(
        topic,
        f"looking at {which or 'this'} failed in a way that was not foreseen",
        "So nothing is known of it; the rest was looked at all the same.",
        "read the lines that begin with Traceback, and report them",
    )
