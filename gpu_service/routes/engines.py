"""The engines of this host."""

from fastapi import APIRouter, Request

from contracts.lipsync import EngineStatus
from gpu_service.engines.registry import Engines

router = APIRouter(tags=["host"])


@router.get("/engines", summary="The engines of this host")
def get_engines(request: Request) -> list[EngineStatus]:
    """Every engine, whether it is ready, and if not, what mends it."""
    engines: Engines = request.app.state.engines
    return engines.statuses()
