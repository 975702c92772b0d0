"""One process at a time installs the weights of a name."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from contracts.errors import Busy


@contextmanager
def alone(path: Path, what: str) -> Iterator[None]:
    """Hold a lock while the block runs; the system frees it when the process dies.

    Args:
        path: The lock's file, which is there only while somebody holds the lock.
        what: What is held, for those who come meanwhile.

    Raises:
        Busy: Somebody else holds it.
    """
    with _opened(path, what):
        try:
            yield
        finally:
            with suppress(PermissionError):  # Windows removes no open file; an empty one stays
                path.unlink()


@contextmanager
def _opened(path: Path, what: str) -> Iterator[None]:
    while True:
        with path.open("ab") as file:
            if not _locked(file):
                raise Busy(
                    f"{what} is being installed by another process",
                    hint="Wait until it has ended; `weights list` shows what is installed.",
                )
            # Who held it before may have removed the file that was opened here, and a lock on
            # that one keeps nobody out who comes now.
            if _is_still(path, file):
                yield
                return


def _is_still(path: Path, file: IO[bytes]) -> bool:
    with suppress(FileNotFoundError):
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    return False


if sys.platform == "win32":
    import msvcrt

    def _locked(file: IO[bytes]) -> bool:
        """Lock the file without waiting; False where another has done so."""
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True
else:
    import fcntl

    def _locked(file: IO[bytes]) -> bool:
        """Lock the file without waiting; False where another has done so."""
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            # Some folders that are mounted from elsewhere know no locks; weights install there too.
            return True
        return True
