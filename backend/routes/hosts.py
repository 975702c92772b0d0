"""GPU hosts: which there are, how they do, another one, one less."""

from fastapi import APIRouter, Response

from backend.dependencies import ServicesDep
from backend.routes.errors import problems
from contracts.errors import Conflict, GpuHostNotFound, InvalidInput
from contracts.hosts import GpuHostView, NewGpuHost

router = APIRouter(prefix="/gpu-hosts", tags=["gpu hosts"])


@router.get("")
def list_gpu_hosts(services: ServicesDep) -> list[GpuHostView]:
    """Every GPU host and how it does, asked just now; the one that the settings name is first."""
    return services.hosts.views()


@router.post("", status_code=201, responses=problems(Conflict, InvalidInput))
def add_gpu_host(new: NewGpuHost, response: Response, services: ServicesDep) -> GpuHostView:
    """Use another GPU host from now on; jobs that wait for one go there.

    curl --json '{"connection": "lipsync://TOKEN@host.example"}' localhost:8000/gpu-hosts
    """
    host = services.hosts.add(new)
    response.headers["Location"] = f"/gpu-hosts/{host.id}"
    return host


@router.delete("/{host_id}", status_code=204, responses=problems(GpuHostNotFound, Conflict))
def remove_gpu_host(host_id: str, services: ServicesDep) -> None:
    """Give a GPU host no more jobs; what it renders now still ends there."""
    services.hosts.remove(host_id)
