"""Is the host up, and what can it do."""

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict

from contracts.versions import API_VERSION, PROGRAM_VERSION
from gpu_service.routes.engines import PATIENCE_SECONDS

router = APIRouter(tags=["host"])


class HealthView(BaseModel):
    """What the host says of itself to anybody."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    status: str = "ok"
    api: str = str(API_VERSION)
    """Version of the interface that it speaks; those with the same major number understand it."""
    version: str = PROGRAM_VERSION
    """Of the program."""
    draining: bool = False
    """Whether it is being stopped: what runs may end, and nothing new is begun."""
    device: str = "cpu"
    """What engines run on."""
    engines_ready: tuple[str, ...]
    """Names of the engines that can render now."""
    engines_loading: tuple[str, ...]
    """Names of those that are being loaded."""
    renders_running: int
    renders_max: int
    """How many may run at a time."""
    renders_waiting: int
    """How many wait for their turn; beyond GPU_MAX_QUEUE, renders are refused with 503."""


@router.get("/health", summary="Is the host up")
def get_health(request: Request) -> HealthView:
    """Open to all: device, engines that are ready, and how busy the host is."""
    state = request.app.state
    statuses = state.engines.statuses(PATIENCE_SECONDS)
    devices = {status.device for status in statuses if status.ready}
    return HealthView(
        draining=state.renders.draining,
        device="cuda" if "cuda" in devices else "cpu",
        engines_ready=tuple(status.info.name for status in statuses if status.ready),
        engines_loading=tuple(status.info.name for status in statuses if status.loading),
        renders_running=state.renders.running,
        renders_max=state.settings.max_concurrent,
        renders_waiting=state.renders.waiting,
    )
