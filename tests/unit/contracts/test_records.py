"""Records on a byte stream."""

from collections.abc import Iterator

import pytest

from contracts.errors import GpuAnswerBroken, NoFaceFound
from contracts.lipsync import FrameRange, RenderReport
from contracts.records import (
    MAX_HEADER_BYTES,
    EndRecord,
    ErrorRecord,
    EventRecord,
    Framed,
    InitRecord,
    MediaRecord,
    ProgressRecord,
    decode_records,
    encode_record,
)

REPORT = RenderReport(
    engine="e", engine_version="1", width=2, height=2, fps=25, num_frames=1, seconds=0.04
)
SENT = [
    Framed(EventRecord(name="engine", value="e\nf")),
    Framed(ProgressRecord(stage="render", done=0.5, total=2.0)),
    Framed(InitRecord(), b"ftyp\nmoov"),
    Framed(MediaRecord(seq=1, start=0.0, seconds=0.2), bytes(range(256)) * 9),
    Framed(MediaRecord(seq=2, start=0.2, seconds=0.2), b""),
    Framed(ErrorRecord(error=NoFaceFound("none").body("id"))),
    Framed(EndRecord(report=REPORT)),
]
STREAM = b"".join(encode_record(*framed) for framed in SENT)


def pieces(size: int) -> Iterator[bytes]:
    return (STREAM[start : start + size] for start in range(0, len(STREAM), size))


@pytest.mark.parametrize("size", [1, 7, 100, 1000, len(STREAM)])
def test_records_come_through_however_the_stream_is_cut(size: int) -> None:
    received = list(decode_records(pieces(size)))
    assert [framed.payload for framed in received] == [framed.payload for framed in SENT]
    for got, sent in zip(received, SENT, strict=True):
        assert got.record == sent.record.model_copy(update={"bytes": len(sent.payload)})


def test_a_record_is_given_before_the_next_has_come() -> None:
    stream = decode_records(iter([encode_record(*SENT[2]), b"", encode_record(*SENT[3])[:50]]))
    assert next(stream).payload == SENT[2].payload


def test_the_longest_report_comes_through() -> None:
    frames = range(0, 600 * 60, 2)
    without_face = tuple(FrameRange(first=frame, last=frame) for frame in frames)
    end = EndRecord(report=REPORT.model_copy(update={"frames_without_face": without_face}))
    (received,) = decode_records([encode_record(end)])
    assert received.record == end


@pytest.mark.parametrize("end", [1, 40, len(STREAM) - 1])
def test_a_stream_that_ends_within_a_record_is_broken(end: int) -> None:
    with pytest.raises(GpuAnswerBroken):
        list(decode_records([STREAM[:end]]))


@pytest.mark.parametrize(
    "stream",
    [
        b"<html>a tunnel's error page</html>\n",
        b'{"type":"dance"}\n',
        b'{"type":"init","seq":1}\n',
        b'{"type":"media","seq":0,"start":0,"seconds":0}\n',
        b'{"type":"init","bytes":-1}\n',
        b'{"type":"init","bytes":99999999999}\n',
        b"x" * (MAX_HEADER_BYTES + 1),
    ],
)
def test_what_is_no_record_is_refused(stream: bytes) -> None:
    with pytest.raises(GpuAnswerBroken):
        list(decode_records([stream]))
