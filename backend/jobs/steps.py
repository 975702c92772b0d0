"""The steps of one job: speak, render, finish."""

import logging
import time
import wave
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel

from backend.gpu.renderer import Renderer
from backend.gpu.rendering import LOST, RenderOrder
from backend.gpu.stop import Stop
from backend.jobs.changes import Changes
from backend.jobs.job import Job
from backend.jobs.pace import Pace
from backend.speech.base import Spoken
from backend.speech.fallback import Speaker
from backend.staging.finish import finish
from backend.staging.fragments import Fragments
from backend.staging.packing import pack_speech
from backend.staging.store import JobMedia, MediaStore
from contracts.errors import Cancelled, GpuAnswerBroken, LipSyncError, RenderFailed
from contracts.jobs import JobStage
from contracts.lipsync import LipSyncOptions, RenderReport
from contracts.marks import PhonemeMark
from contracts.records import (
    EndRecord,
    EventRecord,
    Framed,
    MediaRecord,
    ProgressRecord,
)

log = logging.getLogger(__name__)

PROGRESS_SECONDS = 0.2
"""Progress reaches the database at most so often."""
CONNECTION_LOST = "the connection to the GPU host is lost, and is tried again"


@dataclass(frozen=True)
class Task:
    """A job that is being made, and what its worker holds for it."""

    job: Job
    """As it was when it was claimed."""
    gpu: Renderer
    """The host that renders it."""
    stop: Stop
    update: Callable[[Callable[[Job], None]], Job]
    """Changes the job, as long as it is the worker's."""
    died: Callable[[LipSyncError], None]
    """Told that the host died while it rendered; raises when that was too often."""


class _SpokenText(BaseModel):
    """What was spoken, beside the sound; written last, so that it stands for both."""

    voice: str
    seconds: float
    marks: tuple[PhonemeMark, ...] | None


class Steps:
    """Makes one job's video at a time; shared by all workers, keeps nothing of a job."""

    def __init__(self, media: MediaStore, speaker: Speaker, changes: Changes) -> None:
        self._media = media
        self._speaker = speaker
        self._changes = changes

    def make(self, task: Task) -> RenderReport:
        """Make a running job's video, from where an earlier worker of it stopped.

        Returns:
            The host's report.

        Raises:
            LipSyncError: What prevents it.
            LeaseLost: The job is no longer the worker's.
            Cancelled: It is to stop.
        """
        job, media = task.job, self._media.of(task.job.id)
        spoken = self._speak(task, media) if job.text is not None else None
        order = RenderOrder(
            key=job.id,
            face=media.face,
            speech=_for_the_way(task, media),
            options=_options(job),
            marks=spoken.marks if spoken else None,
        )
        seconds = spoken.seconds if spoken else job.speech_seconds or 0.0
        with Fragments(media) as fragments:
            report = self._render(task, order, fragments, seconds)
            self._finish(task, report, fragments, media)
        return report

    def _speak(self, task: Task, media: JobMedia) -> _SpokenText:
        if not media.spoken.exists():
            task.update(lambda job: job.reach(JobStage.SPEAKING))
            with _timed(task, "speak"):
                self._speak_anew(task, media)
        spoken = _SpokenText.model_validate_json(media.spoken.read_bytes())

        def note(job: Job) -> None:
            job.voice = spoken.voice
            job.speech_seconds = spoken.seconds

        task.update(note)
        return spoken

    def _speak_anew(self, task: Task, media: JobMedia) -> None:
        job = task.job
        voices = self._speaker.choose(job.voice_asked, job.language)
        speech = self._speaker.speak(job.text or "", voices, task.stop)
        write_wav(speech.spoken, media.speech)
        about = _SpokenText(
            voice=speech.voice.id, seconds=speech.spoken.seconds, marks=speech.spoken.marks
        )
        unfinished = media.spoken.with_suffix(".part")
        unfinished.write_text(about.model_dump_json(), encoding="utf-8")
        unfinished.replace(media.spoken)

    def _render(
        self, task: Task, order: RenderOrder, fragments: Fragments, speech_seconds: float
    ) -> RenderReport:
        watched = _Watched(task, self._changes, fragments, speech_seconds)
        records = task.gpu.render(order, fragments, task.stop, task.died, watched.sent)
        with closing(records):
            for framed in records:
                if isinstance(framed.record, EndRecord):
                    return framed.record.report
                watched.see(framed)
        raise GpuAnswerBroken("the GPU host's answer ended before the video did")

    def _finish(
        self, task: Task, report: RenderReport, fragments: Fragments, media: JobMedia
    ) -> None:
        def rendered(job: Job) -> None:
            job.took(**report.stage_seconds)
            job.reach(JobStage.FINISHING)

        task.update(rendered)
        with _timed(task, "finish"):
            try:
                finish(fragments.path, media.video, f"{report.engine} {report.engine_version}")
            except GpuAnswerBroken as error:
                # Else the host would give the same again.
                fragments.abandon()
                task.gpu.cancel(task.job.id)
                raise RenderFailed("what the GPU host rendered is no video") from error


def _for_the_way(task: Task, media: JobMedia) -> Path:
    """The speech as it is sent: for a host that is far, as few bytes as hold all of its sound."""
    if not task.gpu.far:
        return media.speech

    def pause() -> None:
        if task.stop.is_set():
            raise Cancelled("stopped while the speech was packed")

    return pack_speech(media.speech, media.speech_packed, pause)


def _options(job: Job) -> LipSyncOptions:
    """What the job asks for; the engine that a host chose stays."""
    options = LipSyncOptions.model_validate(job.options)
    if options.engine == "auto" and job.engine:
        return options.model_copy(update={"engine": job.engine})
    return options


@contextmanager
def _timed(task: Task, stage: str) -> Iterator[None]:
    begin = time.monotonic()
    yield
    seconds = time.monotonic() - begin
    task.update(lambda job: job.took(**{stage: seconds}))
    log.info("job %s: %s took %.2f s", task.job.id, stage, seconds)


class _Watched:
    """Tells the job, and those who follow it, what comes from the GPU host."""

    def __init__(
        self, task: Task, changes: Changes, fragments: Fragments, total_seconds: float
    ) -> None:
        self._task = task
        self._changes = changes
        self._fragments = fragments
        self._stream = task.job.stream
        self._told = (JobStage.PREPARING, False, "")
        """The stage, whether there is any video, and why nothing comes: what is told at once when
        it changes."""
        self._total = total_seconds
        self._pace = Pace()
        self._told_at = 0.0
        self._upload_pace = Pace()
        self._upload_began: float | None = None
        self._stage_before = JobStage.PREPARING
        """To which the job returns when all has been sent."""
        task.update(lambda job: job.reach(JobStage.PREPARING))

    def sent(self, done: int, total: int) -> None:
        """So many bytes have left for the host, of so many in all."""
        now = time.monotonic()
        if self._upload_began is None:
            if done >= total:
                return
            self._upload_began, self._upload_pace = now, Pace()
            self._stage_before = self._told[0]
        left = self._upload_pace.see(done, total, now)

        def tell(job: Job) -> None:
            job.reason = ""
            job.send(done, total, left)

        if self._is_news((JobStage.UPLOADING, self._told[1], ""), now):
            self._task.update(tell)
        if done >= total:
            self._end_upload()

    def see(self, framed: Framed) -> None:
        record = framed.record
        if not (isinstance(record, EventRecord) and record.name == LOST):
            self._end_upload()
        if self._fragments.stream != self._stream:
            self._stream = stream = self._fragments.stream
            self._pace = Pace()
            self._task.update(lambda job: job.begin_stream(stream))
        if isinstance(record, EventRecord) and record.name == "engine":
            self._task.update(lambda job: setattr(job, "engine", record.value))
        elif isinstance(record, EventRecord) and record.name == LOST:
            self._lost()
        elif isinstance(record, MediaRecord):
            self._reach(JobStage.RENDERING)
            # Who watches gets each fragment at once, without a change in the database.
            self._changes.ring(self._task.job.id)
        elif isinstance(record, ProgressRecord) and record.stage == "render":
            self._total = record.total
            self._reach(JobStage.RENDERING)
        elif isinstance(record, ProgressRecord) and self._told[0] is not JobStage.PREPARING:
            self._reach(JobStage.PREPARING)

    def _reach(self, stage: JobStage, reason: str = "") -> None:
        now = time.monotonic()
        seconds, total = self._fragments.media_seconds, self._total
        left = self._pace.see(seconds, total, now)
        if not self._is_news((stage, seconds > 0, reason), now):
            return

        def tell(job: Job) -> None:
            job.reach(stage)
            job.reason = reason
            job.receive(seconds, total, left)

        self._task.update(tell)

    def _lost(self) -> None:
        if self._told[0] is not JobStage.UPLOADING:
            self._reach(self._told[0], CONNECTION_LOST)
            return
        self._told = (*self._told[:2], CONNECTION_LOST)

        def tell(job: Job) -> None:
            job.reason = CONNECTION_LOST
            job.seconds_left = None

        self._task.update(tell)

    def _is_news(self, news: tuple[JobStage, bool, str], now: float) -> bool:
        """Whether it is time to tell the job."""
        if news == self._told and now - self._told_at < PROGRESS_SECONDS:
            return False
        self._told, self._told_at = news, now
        return True

    def _end_upload(self) -> None:
        if self._upload_began is None:
            return
        seconds = time.monotonic() - self._upload_began
        self._upload_began = None
        self._task.update(lambda job: job.took(upload=job.stage_seconds.get("upload", 0) + seconds))
        self._reach(self._stage_before)


def write_wav(spoken: Spoken, path: Path) -> None:
    """Write speech as a 16-bit mono WAV."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(spoken.sample_rate)
        file.writeframes(spoken.samples.tobytes())
