"""The fragmented MP4 of a job on disk: one thread writes it, many read it while it grows.

`fragments.index` holds JSON lines and only ever grows. A line with a `render_id` begins a stream
and names its file; each later line tells of bytes that are in that file already. So a process that
was killed finds the last whole fragment again, and a stream that is begun anew gets a file with a
name of its own: who reads the old one never gets a byte of the new.
"""

import json
import os
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Self

from backend.staging.codecs import codecs_of
from backend.staging.store import JobMedia
from contracts.errors import Conflict, GpuAnswerBroken
from contracts.lipsync import RenderReport
from contracts.records import EndRecord, InitRecord, MediaRecord

MediaPart = InitRecord | MediaRecord | EndRecord


@dataclass
class _Stream:
    """What the index says of one stream."""

    number: int = 0
    """0 before any has begun; grows with each."""
    render_id: str = ""
    host: str = ""
    file: str = ""
    next_seq: int = 0
    num_bytes: int = 0
    init_bytes: int = 0
    media_seconds: float = 0.0
    report: RenderReport | None = None
    abandoned: bool = False

    def take(self, line: dict[str, Any]) -> None:
        if "seq" in line:
            self.abandoned = False
            self.next_seq = line["seq"] + 1
            self.num_bytes = line["offset"] + line["bytes"]
            self.media_seconds = line["start"] + line["seconds"]
            if line["seq"] == 0:
                self.init_bytes = line["bytes"]
        elif "report" in line:
            self.report = RenderReport.model_validate(line["report"])
        elif "abandoned" in line:
            self.abandoned = True


def _begun(line: dict[str, Any]) -> _Stream:
    return _Stream(line["stream"], line["render_id"], line["host"], line["file"])


def _lines(index: Path, position: int) -> Iterator[tuple[dict[str, Any], int]]:
    """The whole lines from a position on, each with the position after it."""
    try:
        with index.open("rb") as file:
            file.seek(position)
            data = file.read()
    except FileNotFoundError:
        return
    for raw in data.splitlines(keepends=True):
        if not raw.endswith(b"\n"):
            return
        try:
            line = json.loads(raw)
        except ValueError:  # half of it was lost with the machine's power
            return
        position += len(raw)
        yield line, position


class Fragments:
    """The writer's side. Opening changes nothing on disk, the first write does.

    Only one process may write a job's fragments at a time; the lease on the job sees to that.
    """

    def __init__(self, media: JobMedia) -> None:
        self._media = media
        self._files = ExitStack()
        self._data: BinaryIO | None = None
        self._index: BinaryIO | None = None
        self._load()

    @property
    def stream(self) -> int:
        """Which of the job's streams this is; 0 before the first has begun."""
        return self._stream.number

    @property
    def render_id(self) -> str:
        """The GPU host's name for the render; empty before the first stream has begun."""
        return self._stream.render_id

    @property
    def host(self) -> str:
        """Address of the GPU host that renders it."""
        return self._stream.host

    @property
    def path(self) -> Path:
        """The fragmented MP4; only there once a stream has begun."""
        return self._media.folder / self._stream.file

    @property
    def next_seq(self) -> int:
        """The `seq` of the record that comes next; the init segment is 0."""
        return self._stream.next_seq

    @property
    def media_seconds(self) -> float:
        """How much video is there."""
        return self._stream.media_seconds

    @property
    def report(self) -> RenderReport | None:
        """The GPU host's report; None before the last fragment has come."""
        return self._stream.report

    @property
    def complete(self) -> bool:
        """Whether the last fragment has come."""
        return self._stream.report is not None

    @property
    def written_at(self) -> float:
        """When the last record came, in seconds since 1970."""
        return self._media.fragments_index.stat().st_mtime

    @property
    def abandoned(self) -> bool:
        """Whether nothing more is expected of this render, see `abandon`."""
        return self._stream.abandoned

    def append(self, record: MediaPart, payload: bytes = b"") -> bool:
        """Take the next record.

        Returns:
            False for one that is there already; it is left out.

        Raises:
            GpuAnswerBroken: One before it is missing.
            Conflict: Another process writes here.
        """
        if isinstance(record, EndRecord):
            if self.complete:
                return False
            self._note({"report": record.report.model_dump(mode="json")})
            return True
        if record.seq < self.next_seq:
            return False
        if record.seq > self.next_seq or self.complete or not self.stream:
            raise GpuAnswerBroken(
                f"the GPU host sent fragment {record.seq} where {self.next_seq} comes next"
            )
        begin, seconds = (
            (record.start, record.seconds) if isinstance(record, MediaRecord) else (0.0, 0.0)
        )
        self._note(
            {
                "seq": record.seq,
                "offset": self._stream.num_bytes,
                "bytes": len(payload),
                "start": begin,
                "seconds": seconds,
            },
            payload,
        )
        return True

    def start_over(self, render_id: str, host: str) -> None:
        """Begin the first stream, or drop what has come and begin the next."""
        self._open()
        name = f"fragments-{uuid.uuid4().hex[:8]}.mp4"
        (self._media.folder / name).touch()
        header = {"stream": self.stream + 1, "render_id": render_id, "host": host, "file": name}
        self._note(header)
        self._stream = _begun(header)
        self.close()
        for old in self._media.folder.glob("fragments-*.mp4"):
            # Windows deletes no file that somebody is reading; the next start tries again.
            with suppress(OSError):
                if old.name != name:
                    old.unlink(missing_ok=True)

    def abandon(self) -> None:
        """Expect nothing more of this render, because it failed or was cancelled.

        What has come stays; the next render begins a stream of its own, unless the GPU host goes
        on with this one after all.
        """
        if self.stream and not self.abandoned:
            self._note({"abandoned": True})

    def close(self) -> None:
        """Let go of the files; a later write opens them again."""
        self._data = self._index = None
        self._files.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _load(self) -> None:
        lines = list(_lines(self._media.fragments_index, 0))
        begins = [i for i, (line, _) in enumerate(lines) if "render_id" in line]
        self._stream, self._index_bytes = _Stream(), 0
        if not begins:
            return
        header, self._index_bytes = lines[begins[-1]]
        self._stream = _begun(header)
        there = self.path.stat().st_size if self.path.exists() else 0
        for line, position in lines[begins[-1] + 1 :]:
            if line.get("offset", 0) + line.get("bytes", 0) > there:
                break  # the machine lost power before these bytes reached the disk
            self._stream.take(line)
            self._index_bytes = position

    def _open(self) -> tuple[BinaryIO | None, BinaryIO]:
        """The files for writing, cut to what is whole.

        No buffer, so that what was written is with the system when the process is killed.
        """
        if self._index is None:
            self._load()
            index = self._media.fragments_index
            self._index = self._files.enter_context(index.open("ab", buffering=0))
            self._index.truncate(self._index_bytes)
            if self.stream:
                self._data = self._files.enter_context(self.path.open("ab", buffering=0))
                self._data.truncate(self._stream.num_bytes)
        return self._data, self._index

    def _note(self, line: dict[str, Any], payload: bytes = b"") -> None:
        data, index = self._open()
        raw = json.dumps(line, separators=(",", ":")).encode() + b"\n"
        if os.fstat(index.fileno()).st_size != self._index_bytes:
            raise Conflict("another process writes this job's video")
        try:
            if data is not None:
                _write(data, payload)
            _write(index, raw)
        except OSError:
            self.close()  # opened again, the files are cut to what is whole
            raise
        self._index_bytes += len(raw)
        self._stream.take(line)


def _write(file: BinaryIO, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]


class FragmentsReader:
    """One reader's view of the stream that was the latest when it began; holds no file open."""

    def __init__(self, media: JobMedia) -> None:
        self._media = media
        self._stream = _Stream()
        self._position = 0
        self.replaced = False
        """Whether the stream was begun anew or deleted; what was read of it is of no more use."""
        for line, position in _lines(media.fragments_index, 0):
            if "render_id" in line:
                self._stream = _begun(line)
            else:
                self._stream.take(line)
            self._position = position

    @property
    def stream(self) -> int:
        """Which of the job's streams this is; 0 when none had begun."""
        return self._stream.number

    @property
    def num_bytes(self) -> int:
        """How much of it was there at the last refresh."""
        return self._stream.num_bytes

    @property
    def media_seconds(self) -> float:
        """How much video that is."""
        return self._stream.media_seconds

    @property
    def complete(self) -> bool:
        """Whether nothing comes after `num_bytes`."""
        return self._stream.report is not None

    @property
    def abandoned(self) -> bool:
        """Whether nothing more is expected of it, see `Fragments.abandon`."""
        return self._stream.abandoned

    def refresh(self) -> None:
        """Look what has come since."""
        if not self._file.exists():
            self.replaced = True
        for line, position in _lines(self._media.fragments_index, self._position):
            self.replaced = self.replaced or "render_id" in line
            if self.replaced:
                return
            self._stream.take(line)
            self._position = position

    def read(self, offset: int, num_bytes: int) -> bytes:
        """Bytes of the stream, as many as are there at the last refresh; none once replaced."""
        num_bytes = min(num_bytes, self.num_bytes - offset)
        if num_bytes <= 0 or self.replaced:
            return b""
        try:
            with self._file.open("rb") as file:
                file.seek(offset)
                return file.read(num_bytes)
        except FileNotFoundError:
            self.replaced = True
            return b""

    def codecs(self) -> str:
        """For the media type, such as `avc1.4d401e, mp4a.40.2`; empty before the init segment."""
        return codecs_of(self.read(0, self._stream.init_bytes))

    @property
    def _file(self) -> Path:
        return self._media.folder / self._stream.file
