"""What flows from the GPU host to the backend while it renders: a JSON line, then its bytes.

`{"type":"media","seq":3,"start":0.4,"seconds":0.2,"bytes":1234}` + newline + 1,234 bytes.
"""

import json
from collections.abc import Iterable, Iterator
from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from contracts.errors import GpuAnswerBroken
from contracts.lipsync import RenderReport
from contracts.problem import ErrorBody

RECORDS_MEDIA_TYPE = "application/vnd.lipsync.records"
# A report may name every second frame of ten minutes as one without a face.
MAX_HEADER_BYTES = 1024 * 1024
MAX_PAYLOAD_BYTES = 64 * 1024 * 1024


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    bytes: int = Field(default=0, ge=0, le=MAX_PAYLOAD_BYTES)
    """Length of the payload that follows the line."""


class InitRecord(_Record):
    """The MP4's `ftyp` and `moov`; always `seq` 0."""

    type: Literal["init"] = "init"
    seq: Literal[0] = 0


class MediaRecord(_Record):
    """One fragment of the MP4: `moof` and `mdat`."""

    type: Literal["media"] = "media"
    seq: int = Field(ge=1)
    start: float
    """Presentation time of its first frame, in seconds."""
    seconds: float
    """How much video it holds."""


class ProgressRecord(_Record):
    """What the host is doing, at least every 2 s while nothing else flows."""

    type: Literal["progress"] = "progress"
    stage: str
    done: float
    """In the stage's own unit; media seconds while rendering."""
    total: float


class EventRecord(_Record):
    """Something the caller should know at once, such as which engine was chosen."""

    type: Literal["event"] = "event"
    name: str
    value: str


class EndRecord(_Record):
    """The last record of a render that succeeded."""

    type: Literal["end"] = "end"
    report: RenderReport


class ErrorRecord(_Record):
    """The last record of a render that failed."""

    type: Literal["error"] = "error"
    error: ErrorBody


Record = Annotated[
    InitRecord | MediaRecord | ProgressRecord | EventRecord | EndRecord | ErrorRecord,
    Field(discriminator="type"),
]
_RECORD: TypeAdapter[Record] = TypeAdapter(Record)


class Framed(NamedTuple):
    """A record with its payload."""

    record: Record
    payload: bytes = b""


def encode_record(record: Record, payload: bytes = b"") -> bytes:
    """The wire form of one record; its `bytes` field is set here."""
    header = record.model_dump(mode="json") | {"bytes": len(payload)}
    return json.dumps(header, separators=(",", ":")).encode() + b"\n" + payload


def decode_records(chunks: Iterable[bytes]) -> Iterator[Framed]:
    """Read records from a byte stream that may be cut anywhere.

    Raises:
        GpuAnswerBroken: The stream holds something else, or ends within a record.
    """
    buffer = bytearray()
    record: Record | None = None
    for chunk in chunks:
        buffer += chunk
        while True:
            if record is None:
                record = _take_header(buffer)
                if record is None:
                    break
            if len(buffer) < record.bytes:
                break
            payload = bytes(buffer[: record.bytes])
            del buffer[: record.bytes]
            yield Framed(record, payload)
            record = None
    if buffer or record is not None:
        raise GpuAnswerBroken("the GPU host's answer ended within a record")


def _take_header(buffer: bytearray) -> Record | None:
    end = buffer.find(b"\n", 0, MAX_HEADER_BYTES)
    if end < 0:
        if len(buffer) >= MAX_HEADER_BYTES:
            raise GpuAnswerBroken("the GPU host's answer is not a stream of records")
        return None
    try:
        record = _RECORD.validate_json(bytes(buffer[:end]))
    except ValidationError as error:
        raise GpuAnswerBroken("the GPU host's answer is not a stream of records") from error
    del buffer[: end + 1]
    return record
