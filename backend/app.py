"""Puts the backend together."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool

from backend.database import Database, open_database
from backend.dependencies import Services
from backend.generation import Generation
from backend.gpu.added import AddedHosts
from backend.gpu.discovery import Discovery
from backend.gpu.hosts import GpuHosts
from backend.gpu.usage import Usage
from backend.guard import Guard
from backend.jobs.changes import Changes
from backend.jobs.retention import Retention
from backend.jobs.steps import Steps
from backend.jobs.store import JobStore
from backend.jobs.worker import Worker
from backend.metrics import Metrics
from backend.routes import (
    base64_ws,
    docs,
    errors,
    generate,
    health,
    hosts,
    jobs,
    streams,
    voices,
)
from backend.settings import Settings
from backend.speech.base import TtsProvider
from backend.speech.espeak_voice import EspeakVoices
from backend.speech.fallback import Speaker
from backend.speech.gtts_voice import GttsVoices
from backend.staging.store import MediaStore
from backend.webhooks import Webhooks
from contracts.asgi import BodyLimit
from contracts.hosts import Connection
from contracts.versions import PROGRAM_VERSION


def create_app(
    settings: Settings | None = None, voices_from: Sequence[TtsProvider] | None = None
) -> FastAPI:
    """The backend as an ASGI app.

    Args:
        settings: As from the environment when None.
        voices_from: Who speaks, in order; by default gTTS where it is allowed, then espeak-ng.
    """
    settings = settings or Settings()
    speaker = Speaker(default_voices(settings) if voices_from is None else voices_from)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        database = open_database(settings.sqlalchemy_url)
        webhooks = Webhooks(
            database,
            settings.webhook_secret.get_secret_value(),
            private=settings.webhook_private,
        )
        app.state.services = services = _assemble(settings, speaker, database, webhooks)
        services.worker.start()
        webhooks.start()
        retention = Retention(
            services.jobs, services.media, settings.result_ttl_seconds, settings.disk_budget_bytes
        )
        retention.start()
        yield
        await run_in_threadpool(retention.stop)
        await run_in_threadpool(webhooks.stop)
        await run_in_threadpool(services.worker.stop)
        database.close()

    app = FastAPI(
        title="LipSync Studio",
        summary="A face and a text or a recording in, a video of that face saying it out.",
        version=PROGRAM_VERSION,
        lifespan=lifespan,
        docs_url=None,  # FastAPI's own page comes from a CDN
        redoc_url=None,
        redirect_slashes=False,
    )
    for router in (
        docs.router,
        generate.router,
        jobs.router,
        streams.router,
        base64_ws.router,
        voices.router,
        hosts.router,
        health.router,
        errors.router,
    ):
        app.include_router(router)
    errors.install(app)
    app.openapi = lambda: docs.openapi(app)  # type: ignore[method-assign]
    app.add_middleware(BodyLimit, max_bytes=settings.max_upload_bytes)
    app.add_middleware(Guard, settings=settings)
    return app


def default_voices(settings: Settings) -> list[TtsProvider]:
    """Who speaks, in the order in which they are tried."""
    offline = EspeakVoices()
    return [GttsVoices(settings.gtts_timeout_seconds), offline] if settings.gtts else [offline]


def _assemble(
    settings: Settings, speaker: Speaker, database: Database, webhooks: Webhooks
) -> Services:
    jobs = JobStore(database, settings.max_queue)
    jobs.on_end.append(lambda session, job: webhooks.record(session, job.callback_url, job.view()))
    metrics = Metrics()
    jobs.on_end.append(lambda _, job: metrics.ended(job.stage_seconds, job.error))
    media = MediaStore(settings.data_dir / "jobs")
    changes = Changes(jobs)
    fixed = Connection(settings.gpu_url, settings.gpu_token.get_secret_value())
    usage = Usage(database)
    hosts = GpuHosts(
        AddedHosts(database, plain_http=settings.gpu_plain_http),
        usage,
        fixed if fixed.url else None,
        settings.gpu_timeout_seconds,
        forwarded=settings.gpu_forwarded,
    )
    worker = Worker(
        jobs,
        Steps(media, speaker, changes),
        hosts,
        max_running=settings.workers,
        max_attempts=settings.max_attempts,
        lease_seconds=settings.lease_seconds,
    )
    return Services(
        settings=settings,
        jobs=jobs,
        changes=changes,
        media=media,
        speaker=speaker,
        hosts=hosts,
        discovery=Discovery(settings.ngrok_api_key.get_secret_value(), usage),
        worker=worker,
        generation=Generation(jobs, media, speaker, webhooks, metrics),
        metrics=metrics,
    )
