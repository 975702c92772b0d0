"""What a host says at its start: where it is, how to connect, what it can do, how to stop it."""

import io
import textwrap
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import segno

from contracts.hosts import Connection
from contracts.lipsync import EngineStatus
from contracts.versions import PROGRAM_VERSION

WIDTH: Final = 88
_LABEL: Final = 12
RULE: Final = "-" * WIDTH


class Reach(NamedTuple):
    """How the host is reached."""

    address: str
    token: str = ""
    """Shown to whoever starts the host; empty shows none."""
    connection: str = ""
    """The connection string; empty where there is none to give."""
    scan: bool = False
    """Whether to draw the connection string as a QR code."""
    notes: tuple[str, ...] = ()
    """What to do with it, a sentence each."""


def through_tunnel(url: str, token: str, *, permanent: bool) -> Reach:
    """At a public address."""
    stays = (
        "The address is yours and the token is kept, so it is the same at the next start."
        if permanent
        else "The address may be another one at the next start; with a domain of your ngrok "
        "account it stays the same: --tunnel ngrok --domain NAME."
    )
    paste = 'Paste the connection string into the page "GPU hosts" of LipSync Studio. ' + stays
    return Reach(url, token, Connection(url, token).as_text(), scan=True, notes=(paste,))


def through_ssh(own_address: str, token: str) -> Reach:
    """By port forwarding, to a host that listens on its own machine alone."""
    port = urlsplit(own_address).port or 80
    # Another port than the host's: on the machine that asks, that is taken by a host of its own.
    here = port + 1 if port < 65535 else port - 1
    upstream = urlsplit(own_address).netloc
    return Reach(
        f"{own_address} on this machine alone",
        token,
        Connection(f"http://localhost:{here}", token).as_text(),
        notes=(
            "To use it from another machine, run this there, with your name and this machine's:",
            f"    ssh -N -L {here}:{upstream} USER@THIS-MACHINE",
            "Leave it running, and paste the connection string into the page "
            '"GPU hosts" of LipSync Studio there.',
        ),
    )


def directly(own_address: str, token: str, *, loopback: bool) -> Reach:
    """Without a tunnel, as the settings say."""
    if loopback:
        note = "Only programs on this machine reach it; --tunnel lets others in."
        return Reach(own_address, notes=(note,))
    return Reach(
        f"port {urlsplit(own_address).port} of this machine, unencrypted",
        token,
        notes=(
            "Put TLS in front of it before others use it: the token and the faces travel with "
            "every request.",
        ),
    )


def announcement(reach: Reach, statuses: Sequence[EngineStatus], drain_seconds: float) -> str:
    """The whole block, for a terminal."""
    return "\n".join([RULE, *_lines(reach, statuses, drain_seconds), RULE])


def _lines(reach: Reach, statuses: Sequence[EngineStatus], drain_seconds: float) -> Iterator[str]:
    yield f"LipSync Studio GPU host {PROGRAM_VERSION}"
    yield ""
    yield from _entry("address", reach.address)
    if reach.token:
        yield from _entry("token", reach.token)
    if reach.connection:
        yield from _entry("connection", reach.connection)
    for note in reach.notes:
        yield from [note] if note.startswith(" ") else textwrap.wrap(note, WIDTH)
    if reach.scan:
        yield from ("", *_qr(reach.connection))
    yield ""
    for status in statuses:
        how = f"ready on {status.device}" if status.ready else "not ready"
        yield from _entry("engine", f"{status.info.name}: {how}")
        if not status.ready:
            yield " " * _LABEL + status.reason  # in one line, since commands in it are copied
    if not any(status.ready for status in statuses):
        yield from _entry("", "Nothing can be rendered until an engine is ready.")
    yield from _entry(
        "stop", f"Ctrl-C. What renders then has {drain_seconds:g} s to end; Ctrl-C again ends it."
    )


def _entry(label: str, text: str) -> Iterator[str]:
    yield from textwrap.wrap(
        text,
        WIDTH,
        initial_indent=label.ljust(_LABEL),
        subsequent_indent=" " * _LABEL,
        break_long_words=False,  # so that what is copied is whole
        break_on_hyphens=False,
    )


def _qr(text: str) -> list[str]:
    drawn = io.StringIO()
    segno.make(text, error="l", micro=False).terminal(drawn, compact=True, border=2)
    return drawn.getvalue().rstrip("\n").split("\n")


def can_draw(encoding: str | None) -> bool:
    """Whether a terminal of this encoding can show a QR code."""
    try:
        "\u2580\u2584\u2588".encode(encoding or "utf-8")
    except UnicodeEncodeError:
        return False
    return True
