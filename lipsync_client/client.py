"""LipSync: what a Python program may ask of the backend."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import requests
from pydantic import BaseModel, TypeAdapter, ValidationError

from contracts.catalogue import from_body
from contracts.errors import UpstreamError
from contracts.jobs import JobState, JobView, Voice
from contracts.lipsync import EngineStatus
from contracts.problem import ErrorBody
from lipsync_client.multipart import CHUNK_BYTES, MultipartStream, Part

T = TypeVar("T")

POLL_SECONDS = 0.25


class _Ready(BaseModel):
    gpu_host: str


_READY: TypeAdapter[_Ready] = TypeAdapter(_Ready)
_VOICES: TypeAdapter[list[Voice]] = TypeAdapter(list[Voice])
_ENGINES: TypeAdapter[list[EngineStatus]] = TypeAdapter(list[EngineStatus])


class BackendUnreachable(UpstreamError):
    """The backend does not answer."""

    code = "BACKEND_UNREACHABLE"
    title = "The backend does not answer"
    http_status = 503
    default_hint = "Start the backend, and check that its address is right."


class LipSync:
    """A backend at an address.

    Every method raises a `LipSyncError`: the one that the backend answered with, or
    `BackendUnreachable`.

    Args:
        url: The backend's address, such as `http://localhost:8000`.
        token: `BACKEND_TOKEN`, where the backend asks for one.
        timeout_seconds: How long the backend may be silent.
    """

    def __init__(self, url: str, token: str | None = None, timeout_seconds: float = 60.0) -> None:
        self._url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._timeout_seconds = timeout_seconds

    def voices(self) -> list[Voice]:
        """The voices that can speak a text."""
        with self.send("GET", "/voices") as response:
            return _parse(_VOICES, response)

    def engines(self) -> list[EngineStatus]:
        """The engines of the GPU host, and whether each can render now."""
        with self.send("GET", "/engines") as response:
            return _parse(_ENGINES, response)

    def gpu_host(self) -> str:
        """Address of the GPU host that takes the work, once a video can be made there."""
        with self.send("GET", "/health/ready") as response:
            return _parse(_READY, response).gpu_host

    def submit(
        self,
        face: Path | str,
        *,
        text: str | None = None,
        speech: Path | str | None = None,
        **fields: object,
    ) -> JobView:
        """Ask for a video, and return at once with its job.

        Args:
            face: A picture or a video of the face.
            text: What to say; give either this or `speech`.
            speech: A recording to say.
            **fields: `voice`, `language`, and any field of `LipSyncOptions`.
        """
        if (text is None) == (speech is None):
            raise ValueError("give either a text or a recording")
        parts = [Part.file("image", Path(face))]
        parts += [Part.field(name, str(value)) for name, value in fields.items()]
        if speech is not None:
            return self.submit_parts("audio", [*parts, Part.file("audio", Path(speech))])
        return self.submit_parts("text", [*parts, Part.field("text", str(text))])

    def submit_parts(self, kind: str, parts: Iterator[Part] | list[Part]) -> JobView:
        """Submit a form that is already in parts: `kind` is `text` or `audio`."""
        body = MultipartStream(parts)
        headers = {"Content-Type": body.content_type, "Prefer": "respond-async"}
        path = f"/generate-from-{kind}"
        with self.send("POST", path, data=iter(body), headers=headers) as response:
            return _parse(TypeAdapter(JobView), response)

    def job(self, job_id: str) -> JobView:
        """How the job does."""
        with self.send("GET", f"/jobs/{quote(job_id, safe='')}") as response:
            return _parse(TypeAdapter(JobView), response)

    def wait(
        self,
        job_id: str,
        timeout_seconds: float = 3600.0,
        on_change: Callable[[JobView], None] | None = None,
    ) -> JobView:
        """Wait until the job has its video.

        Raises:
            LipSyncError: Why the job failed.
            TimeoutError: It is not done yet.
        """
        deadline = time.monotonic() + timeout_seconds
        while True:
            job = self.job(job_id)
            if on_change:
                on_change(job)
            if job.state == JobState.SUCCEEDED:
                return job
            if job.state.final:
                error = job.error or ErrorBody(title="", status=500, detail=job.state, code="")
                raise from_body(error.model_dump(), error.status)
            if time.monotonic() > deadline:
                raise TimeoutError(f"job {job_id} is not done after {timeout_seconds:.0f} s")
            time.sleep(POLL_SECONDS)

    def download(self, job_id: str, path: Path | str) -> Path:
        """Write the job's video to a file."""
        target = Path(path)
        partial = target.with_name(f"{target.name}.part")
        try:
            with (
                self.send("GET", f"/jobs/{quote(job_id, safe='')}/video") as response,
                partial.open("wb") as file,
                self._transport_errors(),
            ):
                file.writelines(response.iter_content(CHUNK_BYTES))
            return partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)

    def send(
        self,
        method: str,
        path: str,
        *,
        data: Iterator[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_seconds: float | None = None,
    ) -> requests.Response:
        """One request; the answer's body has not been read yet, so close it.

        Raises:
            LipSyncError: The answer's status is 400 or above.
        """
        session = requests.Session()
        # A proxy from the environment must not see loopback, nor .netrc replace the token.
        session.trust_env = False
        with self._transport_errors():
            response = session.request(
                method,
                self._url + path,
                data=data,
                headers={**self._headers, "Connection": "close", **(headers or {})},
                timeout=timeout_seconds or self._timeout_seconds,
                stream=True,
                allow_redirects=False,
            )
            if response.status_code < 400:
                return response
            with response:
                raise from_body(_json_object(response), response.status_code)

    @contextmanager
    def _transport_errors(self) -> Iterator[None]:
        try:
            yield
        except requests.RequestException as error:
            raise BackendUnreachable(f"no backend answers at {self._url}") from error


def _parse(adapter: TypeAdapter[T], response: requests.Response) -> T:
    try:
        return adapter.validate_json(response.content)
    except (ValidationError, requests.RequestException) as error:
        raise UpstreamError("the backend's answer is not what was asked for") from error


def _json_object(response: requests.Response) -> dict[str, Any]:
    try:
        body = response.json()
    except requests.RequestException:
        return {}
    return body if isinstance(body, dict) else {}
