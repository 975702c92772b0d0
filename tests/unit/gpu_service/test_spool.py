"""Pieces of a video, in memory or on the disk."""

import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from gpu_service.media import spool
from gpu_service.media.spool import Spool


@pytest.mark.parametrize("in_memory", [0, 5_000, 1_000_000])
def test_every_piece_is_read_as_it_was_written_whoever_reads_meanwhile(
    in_memory: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "MEMORY_BYTES", in_memory)
    choose = np.random.default_rng(1)
    pieces = [choose.bytes(int(size)) for size in choose.integers(0, 200, 300)]
    kept = Spool()

    def read() -> list[bytes]:
        found: list[bytes] = []
        while len(found) < len(pieces):
            found += [kept[index] for index in range(len(found), len(list(kept)))]
        return found

    with ThreadPoolExecutor(4) as threads:
        readers = [threads.submit(read) for _ in range(4)]
        for piece in pieces:
            kept.append(piece)
        assert all(reader.result() == pieces for reader in readers)
    assert kept.num_bytes == sum(map(len, pieces))


def test_a_long_video_takes_no_memory() -> None:
    piece = bytes(1_000_000)
    tracemalloc.start()
    try:
        kept = Spool()
        for _ in range(40):
            kept.append(piece)
        assert sum(map(len, kept)) == 40_000_000
        current, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert current < 100_000
    assert peak < 20_000_000
