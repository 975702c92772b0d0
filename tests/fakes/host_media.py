"""What a fake GPU host keeps of files that are sent ahead of a render, as a real one does."""

import hashlib
import re
import threading
from dataclasses import dataclass, field
from typing import BinaryIO

from contracts.errors import (
    Conflict,
    InvalidInput,
    MediaCorrupt,
    MediaGap,
    MediaNotFound,
    MediaTooLarge,
)
from contracts.limits import MAX_UPLOAD_BYTES
from contracts.media import MediaView

_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
PIECE = 16_384


@dataclass
class _File:
    size: int
    data: bytearray = field(default_factory=bytearray)
    writer: object = None


@dataclass
class HostMedia:
    """Files by their hash."""

    damages: int = 0
    """So many files that are whole are found to be others than their names say."""
    forgets: int = 0
    """So many files are gone as soon as they are whole."""
    num_received: int = 0
    """How many bytes of files have come, the repeated ones included."""
    puts: list[str] = field(default_factory=list)
    """The `Content-Range` of each part."""
    began: threading.Event = field(default_factory=threading.Event)
    """Set when bytes of a file have come."""
    gate: threading.Event | None = None
    """No more is read before it is set."""
    _files: dict[str, _File] = field(default_factory=dict)

    def view(self, sha256: str) -> MediaView:
        """How much is there."""
        file = self._files.get(sha256)
        if file is None or not file.data:
            raise MediaNotFound("never heard of it")
        num_bytes = len(file.data)
        return MediaView(
            sha256=sha256, received=num_bytes, size=file.size, complete=num_bytes == file.size
        )

    def get(self, sha256: str) -> bytes | None:
        """The file, if it is whole."""
        file = self._files.get(sha256)
        return bytes(file.data) if file and len(file.data) == file.size else None

    def forget(self) -> None:
        """Lose all."""
        self._files.clear()

    def cut_short(self, sha256: str, num_bytes: int) -> None:
        """Lose the end of a file."""
        del self._files[sha256].data[num_bytes:]

    def take_over(self, sha256: str) -> None:
        """Somebody else begins to send the file."""
        self._files[sha256].writer = object()

    def put(self, sha256: str, content_range: str | None, body: BinaryIO) -> MediaView:
        """Take a part, as far as it comes."""
        match = _RANGE.fullmatch(content_range or "")
        if match is None:
            raise InvalidInput("no Content-Range")
        first, last, size = (int(number) for number in match.groups())
        self.puts.append(match[0])
        if size > MAX_UPLOAD_BYTES:
            raise MediaTooLarge("too large")
        file = self._files.setdefault(sha256, _File(size))
        if first > len(file.data):
            raise MediaGap("something is missing")
        file.writer = writer = object()
        self._read(body, file, first, last + 1, writer)
        if len(file.data) == size:
            whole = hashlib.sha256(file.data).hexdigest() == sha256
            if self.damages or not whole:
                self.damages -= 1 if self.damages else 0
                del self._files[sha256]
                raise MediaCorrupt("another file")
        view = self.view(sha256)
        if self.forgets:
            self.forgets -= 1
            del self._files[sha256]
        return view

    def _read(self, body: BinaryIO, file: _File, first: int, end: int, writer: object) -> None:
        position = first
        while position < end:
            if self.gate and self.began.is_set():
                self.gate.wait(20)
            piece = body.read1(min(PIECE, end - position))  # type: ignore[attr-defined]
            if not piece:
                raise ConnectionError("the sender has gone")
            if file.writer is not writer:
                raise Conflict("another sends it now")
            self.num_received += len(piece)
            file.data += piece[max(0, len(file.data) - position) :]
            position += len(piece)
            self.began.set()
