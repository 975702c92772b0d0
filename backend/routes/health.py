"""Whether the backend lives, and whether it can make a video."""

from typing import Final

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from backend.dependencies import ServicesDep
from backend.metrics import CONTENT_TYPE
from backend.routes.errors import problems
from contracts.errors import EngineUnavailable, GpuTimeout, GpuUnreachable, UpstreamError
from contracts.jobs import JobState

router = APIRouter(tags=["health"])

OPEN_PATHS: Final = ("/health/live", "/health/ready")
"""What watches over the backend needs no token."""


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


@router.get(
    "/health/ready",
    responses=problems(UpstreamError, EngineUnavailable, GpuUnreachable, GpuTimeout),
)
def ready(services: ServicesDep) -> Readiness:
    """A video can be made; else the problem says what is missing."""
    host = services.hosts.best()
    statuses = services.hosts.engines()
    engines = [status.info.name for status in statuses if status.ready]
    if not engines:
        reasons = "; ".join(f"{status.info.name}: {status.reason}" for status in statuses)
        raise EngineUnavailable(f"no GPU host has an engine that is ready ({reasons or 'none'})")
    return Readiness(gpu_host=host.url, engines=engines, num_voices=len(services.speaker.voices))


@router.get(
    "/metrics",
    response_class=Response,
    responses={
        200: {
            "description": "In Prometheus' text format.",
            "content": {"text/plain": {"schema": {"type": "string"}}},
        }
    },
)
def show_metrics(services: ServicesDep) -> Response:
    """What Prometheus collects: jobs by state, seconds by stage, failures, listeners, GPU hosts."""
    metrics = services.metrics
    for state in JobState:
        metrics.jobs.labels(state.value).set(services.jobs.count(state))
    # As last heard: who collects figures every few seconds must not use up a tunnel's requests.
    healthy = [host.healthy for host in services.hosts.views(look=False)]
    metrics.gpu_hosts.labels("healthy").set(sum(healthy))
    metrics.gpu_hosts.labels("failing").set(len(healthy) - sum(healthy))
    return Response(metrics.text(), media_type=CONTENT_TYPE)
