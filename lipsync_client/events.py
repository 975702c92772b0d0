"""Following a job: server-sent events, taken up again after every cut."""

import math
import time
from collections.abc import Generator, Iterator
from typing import Protocol

import requests
from pydantic import ValidationError

from contracts.errors import Busy, JobNotFound, NotFound, UpstreamError
from contracts.jobs import JobView

SILENCE_SECONDS = 30.0
"""Three of the backend's heartbeats: a connection that is quiet for longer is taken for dead."""
PATIENCE_SECONDS = 120.0
"""How long the backend may be away before who follows a job is told."""
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.25, 5.0


class Source(Protocol):
    """Where a job can be asked for, and its events."""

    def job(self, job_id: str) -> JobView:
        """How the job does now."""

    def open_events(
        self, job_id: str, after_version: int, timeout_seconds: float
    ) -> requests.Response:
        """Its events after that version, as they come."""


def follow(
    source: Source, job_id: str, timeout_seconds: float = math.inf
) -> Generator[JobView, None, None]:
    """The job now and after every change, up to its final state.

    Raises:
        LipSyncError: The job can't be asked for, or the backend was away for two minutes.
        TimeoutError: The job has not ended in time.
    """
    deadline = time.monotonic() + timeout_seconds
    lost_at: float | None = None
    last: JobView | None = None
    pause = FIRST_PAUSE_SECONDS
    while True:
        try:
            for view in _views(source, job_id, deadline):
                lost_at = None
                if view is not None and view != last:
                    last, pause = view, FIRST_PAUSE_SECONDS
                    yield view
                    if view.state.final:
                        return
                _check(deadline, job_id)
        except (UpstreamError, Busy):
            lost_at = lost_at or time.monotonic()
            if last is None or time.monotonic() - lost_at > PATIENCE_SECONDS:
                raise
        _check(deadline, job_id)
        time.sleep(min(pause, max(0.0, deadline - time.monotonic())))
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)


def _views(source: Source, job_id: str, deadline: float) -> Iterator[JobView | None]:
    """One connection's worth; None is a sign of life."""
    # Asked for by itself first, so that a proxy that holds events back only makes them rarer.
    view = source.job(job_id)
    yield view
    silence_seconds = min(SILENCE_SECONDS, max(0.1, deadline - time.monotonic()))
    try:
        response = source.open_events(job_id, view.version, silence_seconds)
    except JobNotFound:
        raise
    except NotFound as error:
        raise UpstreamError("the backend tells of no events") from error
    with response:
        yield from parse_events(response)


def parse_events(response: requests.Response) -> Iterator[JobView | None]:
    """The jobs in a stream of events; None for each comment, which is a sign of life.

    Raises:
        UpstreamError: The stream broke off, or is none of jobs.
    """
    data: list[str] = []
    try:
        for line in response.iter_lines(chunk_size=65_536):
            name, _, value = line.decode().partition(":")
            if line.startswith(b":"):
                yield None
            elif name == "data":
                data.append(value.removeprefix(" "))
            elif not line and data:
                yield JobView.model_validate_json("\n".join(data))
                data = []
    except requests.RequestException as error:
        raise UpstreamError("the backend's events broke off") from error
    except (ValidationError, UnicodeDecodeError) as error:
        raise UpstreamError("the backend's events are none of a job") from error


def _check(deadline: float, job_id: str) -> None:
    if time.monotonic() >= deadline:
        raise TimeoutError(f"job {job_id} has not ended in time")
