"""Multipart forms written as a stream, so that a large upload is never held in memory."""

import mimetypes
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

CHUNK_BYTES = 64 * 1024


class Part(NamedTuple):
    """One field of a form."""

    name: str
    chunks: Iterable[bytes]
    """The content, read once."""
    filename: str | None = None
    """None for a plain field."""
    content_type: str | None = None

    @classmethod
    def field(cls, name: str, value: str) -> "Part":
        """A plain field."""
        return cls(name, [value.encode()])

    @classmethod
    def file(cls, name: str, path: Path) -> "Part":
        """A file, read only when its turn comes.

        Raises:
            OSError: It can't be read.
        """
        # By then, requests would take that for a broken connection.
        path.open("rb").close()
        kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        return cls(name, _file_chunks(path), path.name, kind)


class MultipartStream:
    """A form as an iterable request body.

    Without a known length, requests sends it chunked.

    Args:
        parts: The fields, taken one after the other while the body is sent.
    """

    def __init__(self, parts: Iterable[Part]) -> None:
        self._parts = parts
        self._boundary = secrets.token_hex(16)

    @property
    def content_type(self) -> str:
        """The value of the request's Content-Type header."""
        return f"multipart/form-data; boundary={self._boundary}"

    def __iter__(self) -> Iterator[bytes]:
        for part in self._parts:
            yield self._header(part)
            # An empty chunk would end a chunked body.
            yield from (chunk for chunk in part.chunks if chunk)
            yield b"\r\n"
        yield f"--{self._boundary}--\r\n".encode()

    def _header(self, part: Part) -> bytes:
        disposition = f'form-data; name="{_quoted(part.name)}"'
        if part.filename is not None:
            disposition += f'; filename="{_quoted(part.filename)}"'
        lines = [f"--{self._boundary}", f"Content-Disposition: {disposition}"]
        if part.content_type is not None:
            lines.append(f"Content-Type: {' '.join(part.content_type.split())}")
        return "\r\n".join([*lines, "", ""]).encode()


def _quoted(value: str) -> str:
    # As browsers do (HTML standard, "multipart form data"): no other byte needs an escape.
    return value.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")


def _file_chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk
