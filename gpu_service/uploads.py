"""Files that arrive in parts: kept by their hash while in use, verified once they are whole."""

import hashlib
import logging
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

from contracts.errors import (
    Busy,
    Conflict,
    InvalidInput,
    MediaCorrupt,
    MediaGap,
    MediaNotFound,
    MediaTooLarge,
)
from contracts.media import MediaView
from gpu_service.weights.lock import alone

log = logging.getLogger(__name__)

RETRY_AFTER_SECONDS: Final = 30


class _File:
    """One of them; all of it belongs to who holds the lock of `Uploads`."""

    def __init__(self, sha256: str, path: Path, size: int, now: float) -> None:
        self.sha256, self.path, self.size, self.used_at = sha256, path, size, now
        self.digest = hashlib.sha256()
        self.received = 0
        self.complete = False
        self.num_readers = 0
        self.writer: Part | None = None

    def view(self) -> MediaView:
        return MediaView(
            sha256=self.sha256, received=self.received, size=self.size, complete=self.complete
        )


class Part:
    """One request's bytes of a file, until another request sends it; any thread may use it."""

    def __init__(self, uploads: "Uploads", file: _File, first: int, last: int) -> None:
        self._uploads, self._file = uploads, file
        self._num_known = file.received - first
        self._end = last + 1

    def write(self, piece: bytes) -> None:
        """Keep the bytes that come next; those that are there already are passed over.

        Raises:
            Conflict: Another request sends this file by now.
            InvalidInput: The part is longer than was announced.
            Busy: The disk takes no more.
        """
        file = self._file
        with self._uploads.writing(file, self):
            num_known = min(self._num_known, len(piece))
            self._num_known -= num_known
            piece = piece[num_known:]
            if file.received + len(piece) > self._end:
                raise InvalidInput("the body has more bytes than Content-Range says")
            try:
                with file.path.open("r+b") as stored:
                    stored.seek(file.received)
                    stored.write(piece)
            except OSError as error:
                raise _no_room(error) from error
            file.digest.update(piece)
            file.received += len(piece)

    def end(self) -> MediaView:
        """No more comes; what has come is kept.

        Returns:
            How much of the file is there now. If it is all of it, it has been verified.

        Raises:
            MediaCorrupt: All has come, and is not what its hash says. Nothing of it is kept.
            Conflict: Another request sends this file by now.
        """
        file = self._file
        with self._uploads.writing(file, self):
            file.writer = None
            if file.received == file.size:
                if file.digest.hexdigest() != file.sha256:
                    self._uploads.drop(file)
                    raise MediaCorrupt(f"the {file.size} bytes that came have another SHA-256")
                file.complete = True
            return file.view()


class Uploads:
    """The files, within a budget of bytes; those go that were not used for long.

    Any thread may use it. They lie in a folder of this process alone, which is made when the
    first one comes.

    Args:
        parent: Holds that folder.
        max_bytes: What all of them may take together, by the sizes that were announced.
        max_file_bytes: What one of them may take.
        keep_seconds: How long one stays after its last use.
        clock: Gives seconds.
    """

    def __init__(
        self,
        parent: Path,
        max_bytes: int,
        max_file_bytes: int,
        keep_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._parent = parent
        self._max_bytes = max_bytes
        self._max_file_bytes = min(max_file_bytes, max_bytes)
        self._keep_seconds = keep_seconds
        self._clock = clock
        self._files: dict[str, _File] = {}
        self._lock = threading.RLock()
        self._own = ExitStack()
        self._folder: Path | None = None

    def view(self, sha256: str) -> MediaView:
        """How much of a file is there.

        Raises:
            MediaNotFound: Nothing is.
        """
        with self._lock:
            file = self._files.get(sha256)
            if file is None:
                raise MediaNotFound("nothing has arrived of the file with this hash")
            file.used_at = self._clock()
            return file.view()

    def begin(self, sha256: str, first: int, last: int, size: int) -> Part | None:
        """Take a part of a file, in place of whoever sends it now.

        Args:
            sha256: Of the whole file, in hex.
            first: Where the part begins, in bytes from the file's start.
            last: Its last byte.
            size: Of the whole file, in bytes.

        Returns:
            Where the bytes go; None where the whole file is there already.

        Raises:
            MediaGap: Bytes before it are missing.
            MediaTooLarge: The whole file is larger than may be.
            Busy: There is no room for it.
        """
        if size > self._max_file_bytes:
            raise MediaTooLarge(f"the file has more than {self._max_file_bytes / 1e6:g} MB")
        with self._lock:
            file = self._files.get(sha256)
            if file and file.complete:
                file.used_at = self._clock()
                return None
            if file and file.size != size:
                self.drop(file)  # one of the two sizes is wrong, so nothing of it can be trusted
                file = None
            received = file.received if file else 0
            if first > received:
                raise MediaGap(f"the part begins at byte {first}, and {received} have arrived")
            file = file or self._add(sha256, size)
            file.used_at = self._clock()
            file.writer = Part(self, file, first, last)
            return file.writer

    @contextmanager
    def writing(self, file: _File, part: Part) -> Iterator[None]:
        """Nobody else changes the file while the block runs.

        Raises:
            Conflict: It is another part's by now.
        """
        with self._lock:
            if file.writer is not part:
                raise Conflict(
                    "another request sends this file by now",
                    hint="Ask by GET how much has arrived, and send from there.",
                )
            file.used_at = self._clock()
            try:
                yield
            except BaseException:
                file.writer = None  # nobody sends it any more, so it may make room
                raise

    @contextmanager
    def reading(self, sha256: str) -> Iterator[Path | None]:
        """The file, which stays while the block runs; None where it is not whole."""
        with self._lock:
            file = self._files.get(sha256)
            if file is None or not file.complete:
                file = None
            else:
                file.num_readers += 1
        try:
            yield file.path if file else None
        finally:
            if file:
                with self._lock:
                    file.num_readers -= 1
                    file.used_at = self._clock()

    def read(self, sha256: str) -> bytes | None:
        """The file's bytes; None where it is not whole."""
        with self.reading(sha256) as path:
            return path.read_bytes() if path else None

    def sweep(self) -> None:
        """Remove what was not used for long."""
        with self._lock:
            used_before = self._clock() - self._keep_seconds
            for file in list(self._files.values()):
                if not file.num_readers and file.used_at <= used_before:
                    self.drop(file)

    def drop(self, file: _File) -> None:
        """Let go of a file; whoever still sends it is told."""
        with self._lock:
            file.writer = None
            del self._files[file.sha256]
            file.path.unlink(missing_ok=True)

    def remove_leftovers(self) -> None:
        """Remove the folders of hosts that were killed."""
        for folder in self._parent.glob("*/"):
            # Those of another user can't be removed, which is no reason not to serve.
            with suppress(Busy, OSError), alone(folder.with_suffix(".lock"), "the folder"):
                shutil.rmtree(folder, ignore_errors=True)

    def close(self) -> None:
        """Remove all of them."""
        with self._lock:
            for file in list(self._files.values()):
                self.drop(file)
            self._folder = None
            self._own.close()

    def _add(self, sha256: str, size: int) -> _File:
        self._make_room(size)
        try:
            path = self._own_folder() / sha256
            path.touch()
        except OSError as error:
            raise _no_room(error) from error
        file = self._files[sha256] = _File(sha256, path, size, self._clock())
        return file

    def _make_room(self, size: int) -> None:
        free = self._max_bytes - sum(file.size for file in self._files.values())
        for file in sorted(self._files.values(), key=lambda each: each.used_at):
            if size <= free:
                return
            if not (file.num_readers or file.writer):
                self.drop(file)
                free += file.size
        if size > free:
            raise Busy(
                "the GPU host has no room for this file while others are sent to it",
                hint="Send it again in a while; GPU_MEDIA_BYTES sets the room for all of them.",
                retry_after_seconds=RETRY_AFTER_SECONDS,
            )

    def _own_folder(self) -> Path:
        if self._folder is None:
            folder = self._parent / uuid.uuid4().hex
            self._parent.mkdir(parents=True, exist_ok=True)
            with ExitStack() as own:
                # Held while this process lives, so that no other host takes it for a leftover.
                own.enter_context(alone(folder.with_suffix(".lock"), "the folder"))
                folder.mkdir(mode=0o700)
                own.callback(shutil.rmtree, folder, ignore_errors=True)
                self._own = own.pop_all()
            self._folder = folder
        return self._folder


def _no_room(error: OSError) -> Busy:
    log.error("an uploaded file can't be kept: %s", error)
    return Busy(
        f"the GPU host can't keep the file: {error.strerror}",
        hint="Make room on its disk, or set GPU_DATA_DIR to a folder that it may write.",
        retry_after_seconds=RETRY_AFTER_SECONDS,
    )
