"""The backend, and from inside it the jobs and media that its routes show."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from backend.app import create_app
from backend.dependencies import Services
from backend.jobs.job import Job, utc_now
from backend.settings import Settings
from backend.staging.fragments import Fragments
from backend.staging.store import JobMedia
from contracts.jobs import JobState
from contracts.lipsync import LipSyncOptions
from contracts.records import EndRecord, InitRecord, MediaRecord
from tests.fakes.gpu_host import REPORT
from tests.fakes.serving import serving
from tests.fakes.voice import FakeVoices

NO_GPU = "http://127.0.0.1:9"
PATIENCE_SECONDS = 30.0


class WatchedBackend:
    """A running backend whose jobs are moved by the test instead of by a worker."""

    def __init__(self, url: str, services: Services) -> None:
        self.url = url
        self.services = services

    def job(self, state: JobState = JobState.RUNNING, **fields: Any) -> str:
        """A new job's id; nothing of it is on disk but an empty folder."""
        job_id, _ = self.services.media.create()
        running = state is JobState.RUNNING
        job = Job(
            id=job_id,
            state=state,
            options=LipSyncOptions().model_dump(mode="json"),
            lease_owner="the test" if running else None,
            lease_until=utc_now() + timedelta(days=1) if running else None,
            finished_at=utc_now() if state.final else None,
            **fields,
        )
        self.services.jobs.add(job)
        return job_id

    def media(self, job_id: str) -> JobMedia:
        """Its files."""
        return self.services.media.of(job_id)

    def fragments(self, job_id: str) -> "Growing":
        """Its stream, to be written."""
        return Growing(self, job_id)

    def finished(self, *payloads: bytes) -> str:
        """A job that has succeeded with these fragments."""
        job_id = self.job()
        with self.fragments(job_id) as stream:
            stream.begin(*payloads)
            stream.end()
        return job_id

    def figure(self, name: str) -> float:
        """What the metrics say."""
        text = self.services.metrics.text().decode()
        lines = [line for line in text.splitlines() if line.startswith(name + " ")]
        return float(lines[0].rpartition(" ")[2]) if lines else 0.0

    def wait_for_figure(self, name: str, value: float) -> None:
        """Until the metrics say so."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.figure(name) != value:
            assert time.monotonic() < deadline, f"{name} stays {self.figure(name)}"
            time.sleep(0.01)


class Growing(Fragments):
    """A job's stream, to be written as a worker does."""

    def __init__(self, backend: WatchedBackend, job_id: str) -> None:
        super().__init__(backend.media(job_id))
        self._services = backend.services
        self._job_id = job_id

    def begin(self, *payloads: bytes) -> None:
        """Begin it, or begin it anew."""
        self.start_over(f"render {self.stream}", NO_GPU)
        self._services.jobs.update(self._job_id, lambda job: job.begin_stream(self.stream))
        self.grow(*payloads)

    def grow(self, *payloads: bytes) -> None:
        """Take these next."""
        for payload in payloads:
            seq = self.next_seq
            begin = 0.2 * (seq - 1)
            record = MediaRecord(seq=seq, start=begin, seconds=0.2) if seq else InitRecord()
            self.append(record, payload)
        self._services.changes.ring(self._job_id)

    def end(self) -> None:
        """It is whole, and its job has succeeded."""
        self.append(EndRecord(report=REPORT))
        self._services.jobs.update(self._job_id, lambda job: job.succeed(REPORT))


@contextmanager
def watched_backend(data_dir: Path, **settings: Any) -> Iterator[WatchedBackend]:
    """It runs while the block lasts."""
    chosen = Settings(_env_file=None, data_dir=data_dir, **{"gpu_url": NO_GPU, **settings})  # type: ignore[call-arg]
    app = create_app(chosen, [FakeVoices()])
    with serving(app) as url:
        yield WatchedBackend(url, app.state.services)
