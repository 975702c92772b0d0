"""Puts the GPU host together."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final

from fastapi import FastAPI

from contracts.asgi import BodyLimit
from contracts.versions import PROGRAM_VERSION
from gpu_service.auth import BearerToken
from gpu_service.avatars import Avatars
from gpu_service.cache import Cache
from gpu_service.engines.registry import ENGINES, Engines
from gpu_service.routes import engines, errors, health, media, render
from gpu_service.routes.runs import Renders
from gpu_service.settings import Settings
from gpu_service.uploads import Uploads
from gpu_service.versions import SpokenVersion

SWEEP_SECONDS: Final = 30.0
"""How often it is looked whether uploads were not used for long."""


def create_app(
    settings: Settings | None = None, known_engines: Mapping[str, str] = ENGINES
) -> FastAPI:
    """The GPU host as an ASGI app.

    Args:
        settings: As from the environment when None.
        known_engines: Import string by name.
    """
    settings = settings or Settings()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        # Loaded before the first caller comes, who would otherwise wait for it.
        await asyncio.to_thread(app.state.engines.statuses)
        await asyncio.to_thread(app.state.uploads.remove_leftovers)
        watches = (app.state.renders.watch(), _watch(app.state.uploads))
        tasks = [asyncio.create_task(watch) for watch in watches]
        yield
        for task in tasks:
            task.cancel()
        await app.state.renders.close()
        await asyncio.to_thread(app.state.uploads.close)

    app = FastAPI(
        title="LipSync Studio GPU host",
        summary="Where the engines are: a face and a speech in, a video out.",
        version=PROGRAM_VERSION,
        lifespan=lifespan,
        # FastAPI's own pages come from a CDN; /openapi.json stays.
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.settings = settings
    app.state.engines = Engines(
        settings.engine_names, known_engines, settings.weights_dir, settings.compute
    )
    app.state.faces = Cache(settings.face_cache_bytes)
    app.state.avatars = Avatars(settings.avatar_cache_bytes)
    app.state.renders = Renders(settings.max_concurrent, settings.max_queue, settings.kept_bytes)
    app.state.uploads = Uploads(
        settings.data_dir / "media",
        settings.media_bytes,
        settings.max_upload_bytes,
        settings.media_seconds,
    )
    for router in (render.router, media.router, engines.router, health.router):
        app.include_router(router)
    errors.install(app)
    app.add_middleware(BodyLimit, max_bytes=settings.max_upload_bytes)
    app.add_middleware(
        BearerToken,
        token=settings.token.get_secret_value(),
        drain_bytes=settings.max_upload_bytes,
    )
    app.add_middleware(SpokenVersion, drain_bytes=settings.max_upload_bytes)
    return app


async def _watch(uploads: Uploads) -> None:
    """Remove uploads that were not used for long, again and again."""
    while True:
        await asyncio.sleep(SWEEP_SECONDS)
        await asyncio.to_thread(uploads.sweep)
