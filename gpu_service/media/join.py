"""Fragments as they were rendered to one MP4."""

from collections.abc import Iterable
from pathlib import Path

import av


def join_fragments(fragments: Iterable[bytes], file: Path) -> None:
    """Write the MP4 whose index comes first; no picture is encoded again.

    Args:
        fragments: All of a fragmented MP4, in order.
        file: Where it goes.
    """
    joined = file.with_suffix(".fragments")
    with joined.open("wb") as parts:
        parts.writelines(fragments)
    with (
        av.open(joined, "r") as source,
        av.open(file, "w", format="mp4", options={"movflags": "+faststart"}) as target,
    ):
        target.metadata.update(source.metadata)  # holds the label, and is not copied with them
        streams = {each.index: target.add_stream_from_template(each) for each in source.streams}
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream.index]
                target.mux(packet)
    joined.unlink()
