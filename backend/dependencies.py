"""What a route may ask for, as annotated types."""

from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, WebSocket
from starlette.requests import HTTPConnection

from backend.generation import Generation
from backend.gpu.discovery import Discovery
from backend.gpu.hosts import GpuHosts
from backend.jobs.changes import Changes
from backend.jobs.store import JobStore
from backend.jobs.worker import Worker
from backend.metrics import Metrics
from backend.settings import Settings
from backend.speech.fallback import Speaker
from backend.staging.store import MediaStore


@dataclass(frozen=True)
class Services:
    """Everything that lives as long as the app."""

    settings: Settings
    jobs: JobStore
    changes: Changes
    media: MediaStore
    speaker: Speaker
    hosts: GpuHosts
    discovery: Discovery
    worker: Worker
    generation: Generation
    metrics: Metrics
    sockets: dict[WebSocket, str] = field(default_factory=dict)
    """Those that are open, and the job that each waits for."""


def _services(connection: HTTPConnection) -> Services:
    services: Services = connection.app.state.services
    return services


ServicesDep = Annotated[Services, Depends(_services)]
