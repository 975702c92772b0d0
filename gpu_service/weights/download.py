"""Files from the web, taken up again where they stopped."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, urlsplit

import requests
from pydantic import BaseModel, ValidationError

from contracts.errors import InvalidInput, UpstreamError

Progress = Callable[[int, int], None]
"""Told the bytes that are here, and those of the whole file or 0 when nobody knows."""

ATTEMPTS: Final = 5
TIMEOUT_SECONDS: Final = (10, 60)
CHUNK_BYTES: Final = 1 << 16
"""At most this much is lost where a download breaks off."""
_DRIVE_HOSTS: Final = ("drive.google.com", "drive.usercontent.google.com")
_CONTENT_RANGE: Final = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")
_HINT: Final = "The same command goes on where it stopped; or get the file by hand and `add` it."


def direct_link(link: str) -> str:
    """The address of the file itself, from an address or from `drive:ID`.

    Google Drive's pages show the file instead of giving it, and ask about large ones.

    Raises:
        InvalidInput: It is no address of a file.
    """
    parts = urlsplit(link)
    drive_id = parts.path if parts.scheme == "drive" else ""
    if parts.hostname in _DRIVE_HOSTS:
        by_path = re.match(r"/file/d/([\w-]+)", parts.path)
        drive_id = by_path[1] if by_path else parse_qs(parts.query).get("id", [""])[0]
        if not drive_id:
            raise InvalidInput(f"{link} is not a file of Google Drive", hint="Open one file there.")
    if drive_id:
        return (
            f"https://drive.usercontent.google.com/download?id={drive_id}&export=download&confirm=t"
        )
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InvalidInput(
            f"{link} is no web address", hint="Give https://… or drive:ID; `add` takes local files."
        )
    return link


def download(link: str, target: Path, progress: Progress) -> None:
    """Bring a file here; what an earlier call left unfinished is gone on with.

    Args:
        link: Its address.
        target: The file to write; beside it stands NAME.json while it is unfinished.
        progress: Told as bytes come.

    Raises:
        InvalidInput: The link is no address.
        UpstreamError: The server does not give the file.
    """
    url = direct_link(link)
    for attempt in range(1, ATTEMPTS + 1):
        try:
            _attempt(url, target, progress)
        except (
            requests.ConnectionError,
            requests.Timeout,
            requests.exceptions.ChunkedEncodingError,
        ) as error:
            if attempt == ATTEMPTS:
                raise UpstreamError(f"{url} broke off: {error}"[:300], hint=_HINT) from error
        except requests.RequestException as error:
            raise UpstreamError(f"{url} can't be fetched: {error}"[:300], hint=_HINT) from error
        else:
            _note_path(target).unlink(missing_ok=True)
            return


def _note_path(target: Path) -> Path:
    return target.with_name(f"{target.name}.json")


class _Note(BaseModel):
    """What an unfinished file is a part of."""

    url: str
    version: str
    """The server's name for this version of the file, where it gives one."""
    total: int


def _read_note(url: str, target: Path) -> _Note | None:
    try:
        note = _Note.model_validate_json(_note_path(target).read_bytes())
    except (FileNotFoundError, ValidationError):
        return None
    return note if note.url == url and target.exists() else None


def _attempt(url: str, target: Path, progress: Progress) -> None:
    headers = {"Accept-Encoding": "identity"}  # else the range would count packed bytes
    note = _read_note(url, target)
    here = target.stat().st_size if note else 0
    if note and here:
        headers["Range"] = f"bytes={here}-"
        if note.version:  # a server whose file has changed gives all of it (RFC 9110, 13.1.5)
            headers["If-Range"] = note.version
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_SECONDS) as answer:
        start, total = _place(answer)
        part = answer.status_code == requests.codes.partial_content
        if part and not (note and (start, total) == (here, note.total)):
            target.unlink(missing_ok=True)
            raise requests.ConnectionError("the server gives another part than it was asked for")
        if answer.status_code == requests.codes.requested_range_not_satisfiable:
            target.unlink()
            raise requests.ConnectionError("the file on its server is shorter than what was here")
        answer.raise_for_status()
        if answer.headers.get("Content-Type", "").startswith("text/html"):
            raise UpstreamError(f"{url} gives a web page and no file", hint=_HINT)
        begun = _Note(url=url, version=_version(answer), total=total)
        with target.open("ab" if start else "wb") as file:
            _note_path(target).write_text(begun.model_dump_json(), encoding="utf-8")
            progress(start, total)
            for chunk in answer.iter_content(CHUNK_BYTES):
                file.write(chunk)
                progress(file.tell(), total)


def _version(answer: requests.Response) -> str:
    tag = answer.headers.get("ETag", "")
    # A weak tag promises the same meaning, and not the same bytes.
    return tag if tag and not tag.startswith("W/") else answer.headers.get("Last-Modified", "")


def _place(answer: requests.Response) -> tuple[int, int]:
    """Where the answer's first byte belongs, and the size of the whole file or 0."""
    if answer.status_code == requests.codes.partial_content:
        found = _CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", ""))
        if found:
            return int(found[1]), 0 if found[2] == "*" else int(found[2])
    return 0, int(answer.headers.get("Content-Length") or 0)
