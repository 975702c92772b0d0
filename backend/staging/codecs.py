"""Which codecs an MP4 holds, as a browser wants to know before it plays the first byte."""

from collections.abc import Iterator

_CONTAINERS = (b"moov", b"trak", b"mdia", b"minf", b"stbl")
_STSD_FIELDS = 8
"""Version, flags and count, before the entries."""
_VIDEO_ENTRY_FIELDS = 78
"""ISO/IEC 14496-12, 12.1.3: what a VisualSampleEntry holds before its own boxes."""


def codecs_of(init: bytes) -> str:
    """The `codecs` parameter (RFC 6381) of an init segment, such as `avc1.4d401e, mp4a.40.2`.

    Returns:
        Only the codecs that we ever send, H.264 and AAC-LC; empty when there is neither.
    """
    found: list[str] = []
    for kind, body in _sample_entries(init):
        if kind == b"avc1":
            for name, config in _boxes(body[_VIDEO_ENTRY_FIELDS:]):
                if name == b"avcC" and len(config) >= 4:
                    # Profile, constraints and level stand after the version byte.
                    found.append(f"avc1.{config[1:4].hex()}")
        elif kind == b"mp4a":
            found.append("mp4a.40.2")
    return ", ".join(found)


def _sample_entries(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    for kind, body in _boxes(data):
        if kind in _CONTAINERS:
            yield from _sample_entries(body)
        elif kind == b"stsd":
            yield from _boxes(body[_STSD_FIELDS:])


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    position = 0
    while position + 8 <= len(data):
        size, kind = (
            int.from_bytes(data[position : position + 4]),
            data[position + 4 : position + 8],
        )
        if size < 8 or position + size > len(data):
            return
        yield kind, data[position + 8 : position + size]
        position += size
