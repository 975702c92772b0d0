"""Pieces of a video that are written once and read many times, on the disk once they are many."""

import threading
import weakref
from collections.abc import Iterator
from tempfile import SpooledTemporaryFile
from typing import Final

MEMORY_BYTES: Final = 8_000_000
"""What may lie in memory before all goes into a file: a short video, which needs no open file."""


class Spool:
    """Pieces of bytes, in order; the file goes with this object. Any thread may use it."""

    def __init__(self) -> None:
        self._file = SpooledTemporaryFile(max_size=MEMORY_BYTES)  # noqa: SIM115 - lives as long as this
        self._ends = [0]
        self._lock = threading.Lock()
        weakref.finalize(self, self._file.close)

    @property
    def num_bytes(self) -> int:
        """What all pieces take together."""
        return self._ends[-1]

    def append(self, piece: bytes) -> None:
        """Add one at the end."""
        with self._lock:
            self._file.seek(self.num_bytes)
            self._file.write(piece)
            self._ends.append(self.num_bytes + len(piece))

    def __getitem__(self, index: int) -> bytes:
        """One that was added."""
        with self._lock:
            start, end = self._ends[index : index + 2]
            self._file.seek(start)
            return self._file.read(end - start)

    def __iter__(self) -> Iterator[bytes]:
        """All that were added."""
        return (self[index] for index in range(len(self._ends) - 1))
