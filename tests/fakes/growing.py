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
        self._closed = False
        self.num_followers = 0
        """Those who follow a job now."""

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

    def wait_for_follower(self) -> None:
        """Until someone follows a job."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.num_followers, PATIENCE_SECONDS)

    def hang_up(self) -> None:
        """Cut off everyone who follows a job now."""
        with self._changed:
            self._hung_up += 1
            self._changed.notify_all()

    def close(self) -> None:
        """Cut off everyone, now and for good."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def follow(self, job_id: str, version: int | None) -> Iterator[JobView]:
        """The job whenever it has another version than this, until it has ended or is gone."""
        with self._changed:
            hung_up = self._hung_up
            self.num_followers += 1
            self._changed.notify_all()
        try:
            while True:
                with self._changed:
                    self._changed.wait_for(
                        lambda: (
                            job_id not in self
                            or self[job_id].version != version  # noqa: B023
                            or self._closed
                            or self._hung_up != hung_up
                        ),
                        PATIENCE_SECONDS,
                    )
                    if self._closed or self._hung_up != hung_up:
                        raise ConnectionResetError("told to hang up")
                    if (job := self.get(job_id)) is None or job.version == version:
                        return
                version = job.version
                yield job
                if job.state.final:
                    return
        finally:
            with self._changed:
                self.num_followers -= 1


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
        with self._changed:
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
            with self._changed:
                self.num_readers -= 1
