"""Fragments as they were rendered to one MP4."""

import io
import tempfile
from collections.abc import Iterable
from pathlib import Path

import av


def join_fragments(fragments: Iterable[bytes]) -> bytes:
    """The MP4 whose index comes first; no picture is encoded again.

    Args:
        fragments: All of a fragmented MP4, in order.
    """
    # The muxer reads what it has written to put the index before it, so it needs a file.
    with tempfile.TemporaryDirectory(prefix="lipsync-") as folder:
        file = Path(folder) / "video.mp4"
        with (
            av.open(io.BytesIO(b"".join(fragments)), "r") as source,
            av.open(file, "w", format="mp4", options={"movflags": "+faststart"}) as target,
        ):
            target.metadata.update(source.metadata)  # holds the label, and is not copied with them
            streams = {each.index: target.add_stream_from_template(each) for each in source.streams}
            for packet in source.demux():
                if packet.dts is not None:
                    packet.stream = streams[packet.stream.index]
                    target.mux(packet)
        return file.read_bytes()
