"""The use case: check and stage what was sent, and enqueue a job for it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

from backend.jobs.job import Job
from backend.jobs.store import JobStore
from backend.metrics import Metrics
from backend.speech.fallback import Speaker
from backend.speech.text import clean
from backend.staging.probe import probe_face, probe_speech
from backend.staging.store import MediaStore, write
from backend.webhooks import Webhooks
from contracts.errors import LipSyncError
from contracts.lipsync import LipSyncOptions


@dataclass(frozen=True)
class Wish:
    """What a caller wants: a face that says a text, or a recording."""

    face: IO[bytes]
    options: LipSyncOptions
    speech: IO[bytes] | None = None
    """The recording; None when `text` is to be spoken."""
    text: str = ""
    voice: str | None = None
    language: str | None = None
    idempotency_key: str | None = None
    """A wish with a key that came before is the same wish."""
    callback_url: str | None = None
    """What is told when the job has ended."""


class Generation:
    """Takes wishes."""

    def __init__(
        self,
        jobs: JobStore,
        media: MediaStore,
        speaker: Speaker,
        webhooks: Webhooks,
        metrics: Metrics,
    ) -> None:
        self._jobs = jobs
        self._media = media
        self._speaker = speaker
        self._webhooks = webhooks
        self._metrics = metrics

    def submit(self, wish: Wish) -> Job:
        """Stage a wish and enqueue its job; a refused wish leaves nothing behind.

        Raises:
            InvalidInput: What was sent can't be used.
            VoiceNotFound: No voice has this name, or none speaks this language.
            QueueFull: Too many jobs wait already.
        """
        earlier = self._jobs.foresee(wish.idempotency_key)
        if earlier is not None:
            return earlier
        if wish.callback_url is not None:
            self._webhooks.check(wish.callback_url)
        text = None
        if wish.speech is None:
            with _about("text"):
                text = clean(wish.text)
            with _about("voice" if wish.voice else "language"):
                self._speaker.choose(wish.voice, wish.language)
        job_id, media = self._media.create()
        try:
            write(wish.face, media.face)
            with _about("image"):
                probe_face(media.face)
            seconds = None
            if wish.speech is not None:
                write(wish.speech, media.speech)
                with _about("audio"):
                    seconds = probe_speech(media.speech)
            job = Job(
                id=job_id,
                options=wish.options.model_dump(mode="json"),
                text=text,
                voice_asked=wish.voice,
                language=wish.language,
                speech_seconds=seconds,
                idempotency_key=wish.idempotency_key,
                callback_url=wish.callback_url,
            )
            num_bytes = self._media.num_bytes(job_id)
            accepted = self._jobs.add(job)
        except BaseException:
            self._media.remove(job_id)
            raise
        if accepted.id == job_id:
            self._metrics.upload_bytes.inc(num_bytes)
        else:
            self._media.remove(job_id)
        return accepted


@contextmanager
def _about(field: str) -> Iterator[None]:
    """Whatever is refused in the block is refused for that field of the form."""
    try:
        yield
    except LipSyncError as error:
        error.field = field
        raise
