"""What of a backend changes while it is looked at: its jobs, and the stream of a video."""

import threading
from collections.abc import Iterator

from contracts.jobs import JobView

PATIENCE_SECONDS = 60.0


class Jobs(dict[str, JobView]):
    """Jobs by id; whoever waits for a change of one is told of it."""

    def __init__(self) -> None:
        super().__init__()
        self._changed = threading.Condition()
        self._hung_up = 0

    def __setitem__(self, job_id: str, job: JobView) -> None:
        with self._changed:
            known = self.get(job_id)
            if known and known.version >= job.version:
                job = job.model_copy(update={"version": known.version + 1})
            super().__setitem__(job_id, job)
            self._changed.notify_all()

    def change(self, job_id: str, **changes: object) -> JobView:
        """Change some fields of a job."""
        self[job_id] = self[job_id].model_copy(update=changes)
        return self[job_id]

    def remove(self, job_id: str) -> None:
        """Forget a job."""
        with self._changed:
            del self[job_id]
            self._changed.notify_all()

    def hang_up(self) -> None:
        """Cut off everyone who waits for a change."""
        with self._changed:
            self._hung_up += 1
            self._changed.notify_all()

    def after(self, job_id: str, version: int | None) -> JobView | None:
        """The job, once it has another version than this; None when it does not come."""
        with self._changed:
            hung_up = self._hung_up
            self._changed.wait_for(
                lambda: (
                    job_id not in self
                    or self[job_id].version != version
                    or self._hung_up != hung_up
                ),
                PATIENCE_SECONDS,
            )
            if self._hung_up != hung_up:
                raise ConnectionResetError("told to hang up")
            return self.get(job_id)


class Drip:
    """A stream that gives what it is fed, to any number of readers, from its first byte."""

    def __init__(self, *chunks: bytes) -> None:
        self._chunks = list(chunks)
        self._changed = threading.Condition()
        self._ended = False
        self._broken = 0
        self.num_readers = 0
        """Readers that are there now."""
        self.num_served = 0
        """Readers that there ever were."""

    def feed(self, *chunks: bytes) -> None:
        """Give these next."""
        with self._changed:
            self._chunks += chunks
            self._changed.notify_all()

    def end(self) -> None:
        """It is whole."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def break_off(self) -> None:
        """Cut off everyone who reads now."""
        with self._changed:
            self._broken += 1
            self._changed.notify_all()

    def read(self) -> Iterator[bytes]:
        """What a reader gets."""
        position, broken = 0, self._broken
        self.num_served += 1
        self.num_readers += 1
        try:
            while True:
                with self._changed:
                    self._changed.wait_for(
                        lambda: (
                            position < len(self._chunks)  # noqa: B023
                            or self._ended
                            or self._broken != broken
                        ),
                        PATIENCE_SECONDS,
                    )
                    if self._broken != broken:
                        raise ConnectionResetError("told to break off")
                    chunks = self._chunks[position:]
                    if not chunks:
                        return
                    position += len(chunks)
                yield from chunks
        finally:
            self.num_readers -= 1
