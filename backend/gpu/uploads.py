"""Files that go to a GPU host ahead of a render, from where a broken connection left off."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from backend.gpu.stop import Stop
from backend.gpu.transport import Line, no_gpu_host
from contracts.errors import Cancelled, Conflict, GpuAnswerBroken, MediaCorrupt, MediaNotFound
from contracts.media import MIN_RESUMABLE_BYTES, MediaView

UPLOAD_PATIENCE: Final = 3
"""The answer to an upload may take so many times the stall: a tunnel still holds part of it when
all has left here."""
MIN_TOLD_BYTES: Final = 256 * 1024
"""Of a smaller request nobody is told how much of it has left."""
MAX_KNOWN: Final = 1000
"""So many names of files are remembered for each host."""
LOOK_SECONDS: Final = 0.5
"""How often who waits for another's upload of the same file tells how far that is."""

OnSent = Callable[[int, int], None]
"""Is told how many bytes have left, of how many; what it raises ends the upload."""
_VIEW = TypeAdapter(MediaView)


def told_nothing(_done: int, _total: int) -> None:
    """An `OnSent` for who does not care."""


class Transfers:
    """What one GPU host was sent, and what is on its way there; shared by all renders there.

    The host may have forgotten any of it, and then asks for it once more.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._known: dict[str, None] = {}
        self._under_way: dict[str, int] = {}

    def knows(self, sha256: str) -> bool:
        """Whether the host should have the file."""
        return sha256 in self._known

    def note(self, sha256: str) -> None:
        """The host has the file."""
        with self._changed:
            self._known[sha256] = None
            while len(self._known) > MAX_KNOWN:
                del self._known[next(iter(self._known))]

    def forget(self, sha256: str) -> None:
        """The host has it no more."""
        with self._changed:
            self._known.pop(sha256, None)

    @contextmanager
    def sending(self, sha256: str, stop: Stop, moved: Callable[[int], None]) -> Iterator[None]:
        """Within the block nobody else of this process sends the file to this host.

        Two at once would send it twice, each cutting the other off.

        Args:
            sha256: The file's name.
            stop: Ends the wait for another.
            moved: Is told meanwhile how much that one has sent.

        Raises:
            Cancelled: `stop` was set.
        """
        with self._changed:
            while sha256 in self._under_way:
                self._changed.wait(LOOK_SECONDS)
                if stop.is_set():
                    raise Cancelled("stopped while a file was on its way to the GPU host")
                moved(self._under_way.get(sha256, 0))
            self._under_way[sha256] = 0
        try:
            yield
        finally:
            with self._changed:
                del self._under_way[sha256]
                self._changed.notify_all()

    def moved(self, sha256: str, num_bytes: int) -> None:
        """So much of a file that is being sent has left here."""
        self._under_way[sha256] = num_bytes


class Counted:
    """A request's body that tells how much of it has been taken.

    Args:
        body: Has `read`.
        num_bytes: How much it gives in all.
        taken: Is told after each piece how much that was so far.
    """

    def __init__(self, body: Any, num_bytes: int, taken: Callable[[int], None]) -> None:
        self._body = body
        self._left = num_bytes
        self._num_taken = 0
        self._taken = taken

    def __len__(self) -> int:
        """What is still to come, for the header."""
        return self._left

    def read(self, size: int = -1) -> bytes:
        """The next piece; what was given before has left by then."""
        self._taken(self._num_taken)
        piece: bytes = self._body.read(size if 0 <= size < self._left else self._left)
        self._num_taken += len(piece)
        self._left -= len(piece)
        return piece


def watched(body: Any, on_sent: OnSent) -> Any:
    """A request's body that tells how much of it has left, where that takes a while.

    Args:
        body: A MultipartEncoder.
        on_sent: Is told.
    """
    num_bytes: int = body.len
    if num_bytes < MIN_TOLD_BYTES:
        return body
    return Counted(body, num_bytes, lambda taken: on_sent(taken, num_bytes))


class Uploads:
    """Sends the files of one render.

    Args:
        line: To the host.
        transfers: What it was sent before.
        stop: Ends an upload between two pieces.
        stall_seconds: How long the host may be silent.
        alive: Called when the host has got further than it was.
    """

    def __init__(
        self,
        line: Line,
        transfers: Transfers,
        stop: Stop,
        stall_seconds: float,
        alive: Callable[[], None],
    ) -> None:
        self._line = line
        self._transfers = transfers
        self._stop = stop
        self._stall_seconds = stall_seconds
        self._alive = alive
        self._furthest: dict[str, int] = {}

    def send(self, path: Path, sha256: str, sent: Callable[[int], None]) -> None:
        """Have the whole file at the host; the next call goes on where this one broke off.

        Args:
            path: The file.
            sha256: Its hash, in hex, which names it.
            sent: Is told how much of it has left.

        Raises:
            LipSyncError: The host's own error, such as MediaTooLarge.
            GpuUnreachable: No GPU host answers.
            GpuTimeout: Neither do bytes leave, nor does an answer come.
            GpuAnswerBroken: The connection broke, or somebody else sends the file, too.
            MediaCorrupt: What arrived is not what left.
            Cancelled: It is to stop.
        """
        size = path.stat().st_size
        with self._transfers.sending(sha256, self._stop, sent):
            if not self._transfers.knows(sha256):
                # Of a small file, what may be there already is not worth the question.
                small = size < MIN_RESUMABLE_BYTES and sha256 not in self._furthest
                received = 0 if small else self._received(sha256)
                sent(received)
                if received < size:
                    self._put(path, sha256, received, size, sent)
                self._transfers.note(sha256)
        self._alive()  # also where another has sent it meanwhile
        sent(size)

    def _received(self, sha256: str) -> int:
        try:
            answer = self._line.ask("GET", f"/media/{sha256}", read_seconds=self._stall_seconds)
            view = self._read(answer.content)
        except MediaNotFound:
            received = 0
        else:
            received = view.size if view.complete else view.received
        if received > self._furthest.get(sha256, 0):
            self._alive()
        self._furthest[sha256] = received
        return received

    def _put(
        self, path: Path, sha256: str, first: int, size: int, sent: Callable[[int], None]
    ) -> None:
        def moved(num_bytes: int) -> None:
            if self._stop.is_set():
                raise Cancelled("stopped while a file was on its way to the GPU host")
            self._transfers.moved(sha256, first + num_bytes)
            sent(first + num_bytes)

        self._furthest.setdefault(sha256, 0)
        with path.open("rb") as file:
            file.seek(first)
            try:
                answer = self._line.ask(
                    "PUT",
                    f"/media/{sha256}",
                    data=Counted(file, size - first, moved),
                    headers={
                        "Content-Range": f"bytes {first}-{size - 1}/{size}",
                        "Content-Type": "application/octet-stream",
                    },
                    read_seconds=UPLOAD_PATIENCE * self._stall_seconds,
                )
            except MediaCorrupt:
                self._furthest[sha256] = 0
                raise
            except Conflict as conflict:
                # Another backend sends the file, too; what it has sent by then need not go again.
                raise GpuAnswerBroken(f"the upload was cut off: {conflict.detail}") from conflict
        if not self._read(answer.content).complete:
            raise GpuAnswerBroken("the GPU host has not got the whole file")

    def _read(self, body: bytes) -> MediaView:
        try:
            return _VIEW.validate_json(body)
        except ValidationError as error:
            raise no_gpu_host(self._line.url) from error
