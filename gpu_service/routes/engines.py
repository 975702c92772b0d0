"""The engines of this host."""

from typing import Final

from fastapi import APIRouter, Request

from contracts.lipsync import EngineStatus
from gpu_service.engines.registry import Engines

router = APIRouter(tags=["host"])

PATIENCE_SECONDS: Final = 0.5
"""So long an answer waits for engines that are being loaded; callers wait no more than some
seconds for it."""


@router.get("/engines", summary="The engines of this host")
def get_engines(request: Request) -> list[EngineStatus]:
    """Every engine, whether it is ready, and if not, what mends it; those of `auto` first.

    Also what each runs on, and how fast it was in its last renders here.
    """
    engines: Engines = request.app.state.engines
    return engines.statuses(PATIENCE_SECONDS)
