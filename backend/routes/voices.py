"""What may be asked for: voices and engines."""

from fastapi import APIRouter

from backend.dependencies import ServicesDep
from backend.routes.errors import problems
from contracts.errors import GpuTimeout, GpuUnreachable, UpstreamError
from contracts.jobs import Voice
from contracts.lipsync import EngineStatus

router = APIRouter(tags=["choices"])


@router.get("/voices")
def list_voices(services: ServicesDep) -> list[Voice]:
    """Every voice; without a choice the first that speaks the language is taken."""
    return services.speaker.voices


@router.get("/engines", responses=problems(UpstreamError, GpuUnreachable, GpuTimeout))
def list_engines(services: ServicesDep) -> list[EngineStatus]:
    """The engines of the GPU hosts, each as it does where it does best, the best host's first."""
    return services.hosts.engines()
