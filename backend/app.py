"""Puts the backend together."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.concurrency import run_in_threadpool

from backend.database import open_database
from backend.dependencies import Services
from backend.generation import Generation
from backend.gpu.client import GpuClient
from backend.guard import Guard
from backend.jobs.changes import Changes
from backend.jobs.retention import Retention
from backend.jobs.steps import Steps
from backend.jobs.store import JobStore
from backend.jobs.worker import Worker
from backend.metrics import Metrics
from backend.routes import base64_ws, docs, errors, generate, health, jobs, streams, voices
from backend.settings import Settings
from backend.speech.base import TtsProvider
from backend.speech.espeak_voice import EspeakVoices
from backend.speech.fallback import Speaker
from backend.speech.gtts_voice import GttsVoices
from backend.staging.store import MediaStore
from backend.webhooks import Webhooks
from contracts.asgi import BodyLimit
from contracts.problem import ErrorBody


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
        app.state.services = services = _assemble(
            settings, speaker, JobStore(database, settings.max_queue), webhooks
        )
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
        version="0.1.0",
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
        health.router,
        errors.router,
    ):
        app.include_router(router)
    errors.install(app)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    app.add_middleware(BodyLimit, max_bytes=settings.max_upload_bytes)
    app.add_middleware(Guard, settings=settings)
    return app


def default_voices(settings: Settings) -> list[TtsProvider]:
    """Who speaks, in the order in which they are tried."""
    offline = EspeakVoices()
    return [GttsVoices(settings.gtts_timeout_seconds), offline] if settings.gtts else [offline]


def _assemble(settings: Settings, speaker: Speaker, jobs: JobStore, webhooks: Webhooks) -> Services:
    jobs.on_end.append(lambda session, job: webhooks.record(session, job.callback_url, job.view()))
    metrics = Metrics()
    jobs.on_end.append(lambda _, job: metrics.ended(job.stage_seconds, job.error))
    media = MediaStore(settings.data_dir / "jobs")
    gpu = GpuClient(
        settings.gpu_url, settings.gpu_token.get_secret_value(), settings.gpu_timeout_seconds
    )
    worker = Worker(jobs, Steps(jobs, media, speaker, gpu), settings.workers)
    return Services(
        settings=settings,
        jobs=jobs,
        changes=Changes(jobs),
        media=media,
        speaker=speaker,
        gpu=gpu,
        worker=worker,
        generation=Generation(jobs, media, speaker, worker, webhooks),
        metrics=metrics,
    )


def _openapi(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        schema = get_openapi(
            title=app.title, version=app.version, summary=app.summary, routes=app.routes
        )
        # Routes refer to it by name, see `problems`.
        schemas = schema["components"]["schemas"]
        schemas["ErrorBody"] = ErrorBody.model_json_schema()
        # FastAPI promises its own validation errors wherever a route takes a parameter.
        del schemas["HTTPValidationError"], schemas["ValidationError"]
        for operation in (each for path in schema["paths"].values() for each in path.values()):
            if "HTTPValidationError" in str(operation["responses"].get("422")):
                del operation["responses"]["422"]
        app.openapi_schema = schema
    return app.openapi_schema
