"""The steps of one job: speak, render, finish."""

import logging
import time
import wave
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from backend.gpu.client import GpuClient
from backend.gpu.rendering import RenderOrder
from backend.gpu.stop import Stop
from backend.jobs.job import Job
from backend.jobs.store import JobStore
from backend.speech.base import Spoken
from backend.speech.fallback import Speaker
from backend.staging.finish import finish
from backend.staging.fragments import Fragments
from backend.staging.store import JobMedia, MediaStore
from contracts.errors import GpuAnswerBroken
from contracts.jobs import JobStage
from contracts.lipsync import LipSyncOptions, RenderReport
from contracts.marks import PhonemeMark
from contracts.records import EndRecord, EventRecord, Framed, ProgressRecord

log = logging.getLogger(__name__)

PROGRESS_SECONDS = 0.2
"""Progress reaches the database at most so often."""


class Steps:
    """Makes one job's video at a time; shared by all workers, keeps nothing of a job."""

    def __init__(self, jobs: JobStore, media: MediaStore, speaker: Speaker, gpu: GpuClient) -> None:
        self._jobs = jobs
        self._media = media
        self._speaker = speaker
        self._gpu = gpu

    def make(self, job: Job, stop: Stop) -> RenderReport:
        """Make a running job's video; done over from the start when a process died in between.

        Raises:
            LipSyncError: What prevents it.
            Cancelled: `stop` was set.
        """
        media = self._media.of(job.id)
        marks = self._speak(job, media, stop) if job.text is not None else None
        order = RenderOrder(
            key=job.id,
            face=media.face,
            speech=media.speech,
            options=LipSyncOptions.model_validate(job.options),
            marks=marks,
        )
        with Fragments(media) as fragments:
            return self._render_and_finish(order, media, fragments, stop)

    def _render_and_finish(
        self, order: RenderOrder, media: JobMedia, fragments: Fragments, stop: Stop
    ) -> RenderReport:
        report = self._render(order, fragments, stop)

        def rendered(job: Job) -> None:
            job.took(**report.stage_seconds)
            job.reach(JobStage.FINISHING)

        self._jobs.update(order.key, rendered)
        with self._timed(order.key, "finish"):
            finish(fragments.path, media.video, f"{report.engine} {report.engine_version}")
        return report

    def _speak(self, job: Job, media: JobMedia, stop: Stop) -> Sequence[PhonemeMark] | None:
        self._jobs.update(job.id, lambda job: job.reach(JobStage.SPEAKING))
        with self._timed(job.id, "speak"):
            voices = self._speaker.choose(job.voice_asked, job.language)
            speech = self._speaker.speak(job.text or "", voices, stop)
            write_wav(speech.spoken, media.speech)

        def spoken(job: Job) -> None:
            job.voice = speech.voice.id
            job.speech_seconds = speech.spoken.seconds
            job.reach(JobStage.PREPARING)

        self._jobs.update(job.id, spoken)
        return speech.spoken.marks

    def _render(self, order: RenderOrder, fragments: Fragments, stop: Stop) -> RenderReport:
        self._jobs.update(order.key, lambda job: job.reach(JobStage.PREPARING))
        watched = _Watched(self._jobs, order.key)
        for framed in self._gpu.render(order, fragments, stop, lambda _: None):
            if isinstance(framed.record, EndRecord):
                return framed.record.report
            watched.see(framed)
        raise GpuAnswerBroken("the GPU host's answer ended before the video did")

    @contextmanager
    def _timed(self, job_id: str, stage: str) -> Iterator[None]:
        begin = time.monotonic()
        yield
        seconds = time.monotonic() - begin
        self._jobs.update(job_id, lambda job: job.took(**{stage: seconds}))
        log.info("job %s: %s took %.2f s", job_id, stage, seconds)


class _Watched:
    """Tells the job what the GPU host says of its progress."""

    def __init__(self, jobs: JobStore, job_id: str) -> None:
        self._jobs = jobs
        self._job_id = job_id
        self._told_at = 0.0

    def see(self, framed: Framed) -> None:
        record = framed.record
        if isinstance(record, EventRecord) and record.name == "engine":
            self._jobs.update(self._job_id, lambda job: setattr(job, "engine", record.value))
        elif isinstance(record, ProgressRecord):
            now = time.monotonic()
            if now - self._told_at >= PROGRESS_SECONDS:
                self._told_at = now
                self._jobs.update(self._job_id, lambda job: _tell(job, record))


def _tell(job: Job, record: ProgressRecord) -> None:
    if record.stage != "render":
        job.reach(JobStage.PREPARING)
        return
    job.reach(JobStage.RENDERING)
    job.receive(record.done, record.total, None)


def write_wav(spoken: Spoken, path: Path) -> None:
    """Write speech as a 16-bit mono WAV."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(spoken.sample_rate)
        file.writeframes(spoken.samples.tobytes())
