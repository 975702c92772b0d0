"""GPU hosts: which there are, how they do, another one, one less."""

from http import HTTPStatus

from fastapi import APIRouter, Response

from backend.dependencies import ServicesDep
from backend.routes.errors import problems
from contracts.errors import (
    Conflict,
    GpuHostNotFound,
    InvalidInput,
    NgrokRefused,
    NgrokUnreachable,
)
from contracts.hosts import FoundGpuHosts, GpuHostView, NewGpuHost

router = APIRouter(prefix="/gpu-hosts", tags=["gpu hosts"])


@router.get("")
def list_gpu_hosts(services: ServicesDep) -> list[GpuHostView]:
    """Every GPU host and how it does, asked just now; the one that the settings name is first."""
    return services.hosts.views()


@router.get("/found", responses=problems(NgrokRefused, NgrokUnreachable))
def find_gpu_hosts(services: ServicesDep) -> FoundGpuHosts:
    """LipSync GPU hosts at endpoints of the ngrok account whose API key BACKEND_NGROK_API_KEY is.

    Those that have been added are left out. The account is asked at most once a minute; the first
    answer may say that it is still `looking`.
    """
    return services.discovery.found({host.url for host in services.hosts.views(look=False)})


@router.post(
    "",
    status_code=201,
    responses={
        200: {"model": GpuHostView, "description": "It was there already; its token is new."},
        **problems(Conflict, InvalidInput),
    },
)
def add_gpu_host(new: NewGpuHost, response: Response, services: ServicesDep) -> GpuHostView:
    """Use another GPU host from now on, or one with its new token; jobs that wait go there.

    curl --json '{"connection": "lipsync://TOKEN@host.example"}' localhost:8000/gpu-hosts
    """
    host, is_new = services.hosts.add(new)
    if not is_new:
        response.status_code = HTTPStatus.OK
    response.headers["Location"] = f"/gpu-hosts/{host.id}"
    return host


@router.delete("/{host_id}", status_code=204, responses=problems(GpuHostNotFound, Conflict))
def remove_gpu_host(host_id: str, services: ServicesDep) -> None:
    """Give a GPU host no more jobs; what it renders now still ends there."""
    services.hosts.remove(host_id)
