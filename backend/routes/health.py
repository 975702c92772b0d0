"""Whether the backend lives, and whether it can make a video."""

from fastapi import APIRouter, Request
from pydantic import BaseModel

from backend.dependencies import ServicesDep
from backend.routes.errors import problems
from contracts.errors import EngineUnavailable

router = APIRouter(tags=["health"])


class Health(BaseModel):
    """How the backend does."""

    status: str = "ok"


class Readiness(Health):
    """What a video can be made with."""

    gpu_host: str
    engines: list[str]
    num_voices: int


@router.get("/health/live")
def live() -> Health:
    """The process answers."""
    return Health()


class Version(BaseModel):
    """Which backend this is."""

    version: str


@router.get("/version")
def show_version(request: Request) -> Version:
    """Which version of the product answers."""
    return Version(version=request.app.version)


@router.get("/health/ready", responses=problems(502, 503))
def ready(services: ServicesDep) -> Readiness:
    """A video can be made; else the problem says what is missing."""
    statuses = services.gpu.engines()
    engines = [status.info.name for status in statuses if status.ready]
    if not engines:
        reasons = "; ".join(f"{status.info.name}: {status.reason}" for status in statuses)
        raise EngineUnavailable(f"the GPU host has no engine that is ready ({reasons or 'none'})")
    return Readiness(
        gpu_host=services.gpu.url, engines=engines, num_voices=len(services.speaker.voices)
    )
