"""LipSync: what a Python program may ask of the backend."""

import json
import math
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, Any, TypeVar
from urllib.parse import quote, urlencode

import requests
from pydantic import BaseModel, TypeAdapter, ValidationError

from contracts.catalogue import from_body
from contracts.errors import Cancelled, LipSyncError, UpstreamError, VideoNotReady
from contracts.hosts import FoundGpuHosts, GpuHostView
from contracts.jobs import JobPage, JobState, JobView, Voice
from contracts.lipsync import EngineStatus
from lipsync_client.events import follow
from lipsync_client.multipart import CHUNK_BYTES, MultipartStream, Part

T = TypeVar("T")

DOWNLOAD_PAUSES_SECONDS = (0.5, 1.0, 2.0, 4.0)
"""How long to wait before a download that broke off goes on."""


class _Ready(BaseModel):
    gpu_host: str


_READY: TypeAdapter[_Ready] = TypeAdapter(_Ready)
_VOICES: TypeAdapter[list[Voice]] = TypeAdapter(list[Voice])
_ENGINES: TypeAdapter[list[EngineStatus]] = TypeAdapter(list[EngineStatus])
_JOB: TypeAdapter[JobView] = TypeAdapter(JobView)
_JOBS: TypeAdapter[JobPage] = TypeAdapter(JobPage)
_HOST: TypeAdapter[GpuHostView] = TypeAdapter(GpuHostView)
_HOSTS: TypeAdapter[list[GpuHostView]] = TypeAdapter(list[GpuHostView])
_FOUND: TypeAdapter[FoundGpuHosts] = TypeAdapter(FoundGpuHosts)


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

    Example:
        ```python
        studio = LipSync("http://localhost:8000")
        print([voice.id for voice in studio.voices()])
        print([engine.info.name for engine in studio.engines() if engine.ready])

        job = studio.submit("samples/portrait.jpg", text="Hello.", max_height=360)
        for view in studio.events(job.id):
            print(f"{view.stage}: {view.progress:.0%}, {view.seconds_left} s left")
        studio.download(job.id, "hello.mp4")

        again = studio.submit("samples/portrait.jpg", speech="samples/speech.flac")
        studio.cancel(again.id)
        studio.retry(again.id)
        with open("live.mp4", "wb") as file:  # plays while it grows
            file.writelines(studio.stream(again.id))
        print(studio.wait(again.id).report)

        for view in studio.jobs(limit=2).jobs:
            studio.delete(view.id)

        host = studio.add_gpu_host("lipsync://token@gpu.example", name="Cloud")
        print([(host.name, host.healthy) for host in studio.gpu_hosts()])
        print([host.url for host in studio.found_gpu_hosts().hosts])
        studio.remove_gpu_host(host.id)
        ```

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
        return self._ask(_VOICES, "GET", "/voices")

    def engines(self) -> list[EngineStatus]:
        """The engines of the GPU hosts, and whether each can render now."""
        return self._ask(_ENGINES, "GET", "/engines")

    def gpu_host(self) -> str:
        """Address of the GPU host that takes the work, once a video can be made there."""
        return self._ask(_READY, "GET", "/health/ready").gpu_host

    def submit(
        self,
        face: Path | str,
        *,
        text: str | None = None,
        speech: Path | str | None = None,
        idempotency_key: str | None = None,
        callback_url: str | None = None,
        **fields: object,
    ) -> JobView:
        """Ask for a video, and return at once with its job.

        Args:
            face: A picture or a video of the face.
            text: What to say; give either this or `speech`.
            speech: A recording to say.
            idempotency_key: A repeat with the same key returns the same job.
            callback_url: What is told when the job has ended; see `verify_signature`.
            **fields: `voice`, `language`, and any field of `LipSyncOptions`.
        """
        if (text is None) == (speech is None):
            raise ValueError("give either a text or a recording")
        fields["callback_url"] = callback_url
        parts = [Part.file("image", Path(face))]
        parts += [
            Part.field(name, str(value)) for name, value in fields.items() if value is not None
        ]
        if speech is not None:
            parts.append(Part.file("audio", Path(speech)))
            return self.submit_parts("audio", parts, idempotency_key)
        return self.submit_parts("text", [*parts, Part.field("text", str(text))], idempotency_key)

    def submit_parts(
        self, kind: str, parts: Iterable[Part], idempotency_key: str | None = None
    ) -> JobView:
        """Submit a form that is already in parts: `kind` is `text` or `audio`."""
        body = MultipartStream(parts)
        headers = {"Content-Type": body.content_type, "Prefer": "respond-async"}
        if idempotency_key is not None:
            headers["Idempotency-Key"] = idempotency_key
        path = f"/generate-from-{kind}"
        return self._ask(_JOB, "POST", path, data=iter(body), headers=headers)

    def job(self, job_id: str) -> JobView:
        """How the job does."""
        return self._ask(_JOB, "GET", _path(job_id))

    def jobs(
        self, cursor: str | None = None, *, limit: int = 20, state: JobState | str | None = None
    ) -> JobPage:
        """Jobs, newest first; `next_cursor` of one page asks for the next."""
        asked = {"limit": limit, "cursor": cursor, "state": state and str(state)}
        query = urlencode({name: value for name, value in asked.items() if value is not None})
        return self._ask(_JOBS, "GET", f"/jobs?{query}")

    def events(
        self, job_id: str, timeout_seconds: float = math.inf
    ) -> Generator[JobView, None, None]:
        """The job now and after every change; the last one is final.

        A connection that breaks is taken up again; a backend that is away for two minutes is not
        waited for any longer.

        Raises:
            TimeoutError: The job has not ended in time.
        """
        return follow(self, job_id, timeout_seconds)

    def open_events(
        self, job_id: str, after_version: int, timeout_seconds: float
    ) -> requests.Response:
        """The answer that carries the job's events after that version; close it."""
        headers = {"Accept": "text/event-stream", "Last-Event-ID": str(after_version)}
        path = f"{_path(job_id)}/events"
        return self.send("GET", path, headers=headers, timeout_seconds=timeout_seconds)

    def wait(
        self,
        job_id: str,
        timeout_seconds: float = 3600.0,
        on_change: Callable[[JobView], None] | None = None,
    ) -> JobView:
        """Wait until the job has its video.

        Raises:
            LipSyncError: Why the job failed, or that it was cancelled.
            TimeoutError: It is not done yet.
        """
        for view in self.events(job_id, timeout_seconds):
            if on_change:
                on_change(view)
        return succeeded(view)

    def stream(self, job_id: str) -> Iterator[bytes]:
        """The video as fragments of an MP4, from the first on, while it is rendered.

        It waits until the first has come. When the video is rendered anew, what came so far is
        void: the stream breaks off with an `UpstreamError`, and can be asked for again.
        """
        with self._open_stream(job_id) as response, self._transport_errors("broke off its answer"):
            yield from response.iter_content(CHUNK_BYTES)

    def _open_stream(self, job_id: str) -> requests.Response:
        with closing(self.events(job_id)) as views:
            for view in views:
                try:
                    return self.send("GET", f"{_path(job_id)}/stream")
                except VideoNotReady:
                    if view.state.final:
                        raise
        raise AssertionError("events end with a final state")

    def download(self, job_id: str, path: Path | str) -> Path:
        """Write the job's video to a file, which is there only once it is whole."""
        target = Path(path)
        partial = target.with_name(f"{target.name}.part")
        try:
            with partial.open("wb") as file:
                self._fetch(f"{_path(job_id)}/video", file)
            return partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)

    def _fetch(self, path: str, file: IO[bytes]) -> None:
        """Write an answer to a file; goes on where it was when the connection breaks."""
        etag: str | None = None
        for pause in (*DOWNLOAD_PAUSES_SECONDS, None):
            have = file.tell()
            asked = {"Range": f"bytes={have}-", "If-Range": etag} if have and etag else {}
            try:
                with (
                    self.send("GET", path, headers=asked) as response,
                    self._transport_errors("broke off its answer"),
                ):
                    etag = response.headers.get("ETag", "")
                    if response.status_code != 206:  # the whole again
                        file.seek(0)
                        file.truncate()
                    file.writelines(response.iter_content(CHUNK_BYTES))
                    return
            except UpstreamError:
                if pause is None or etag is None:  # it never answered
                    raise
                time.sleep(pause)

    def cancel(self, job_id: str) -> JobView:
        """Stop a job that waits or runs; its render stops too."""
        return self._ask(_JOB, "POST", f"{_path(job_id)}/cancel")

    def retry(self, job_id: str) -> JobView:
        """Have a failed or cancelled job made once more."""
        return self._ask(_JOB, "POST", f"{_path(job_id)}/retry")

    def delete(self, job_id: str) -> None:
        """Remove a job and everything that was uploaded and made for it."""
        self.send("DELETE", _path(job_id)).close()

    def gpu_hosts(self) -> list[GpuHostView]:
        """The GPU hosts, and how each does."""
        return self._ask(_HOSTS, "GET", "/gpu-hosts")

    def found_gpu_hosts(self) -> FoundGpuHosts:
        """GPU hosts in the backend's ngrok account that have not been added yet."""
        return self._ask(_FOUND, "GET", "/gpu-hosts/found")

    def add_gpu_host(
        self, connection: str = "", *, url: str = "", token: str = "", name: str = ""
    ) -> GpuHostView:
        """Add a GPU host by its connection string, or by its address and token.

        One that is there already takes the new token.
        """
        fields = {"connection": connection, "url": url, "token": token, "name": name}
        headers = {"Content-Type": "application/json"}
        body = json.dumps(fields).encode()
        return self._ask(_HOST, "POST", "/gpu-hosts", data=body, headers=headers)

    def remove_gpu_host(self, host_id: str) -> None:
        """Give a GPU host no more work, and forget it."""
        self.send("DELETE", f"/gpu-hosts/{quote(host_id, safe='')}").close()

    def send(
        self,
        method: str,
        path: str,
        *,
        data: Iterator[bytes] | bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_seconds: float | None = None,
    ) -> requests.Response:
        """One request; the answer's body has not been read yet, so close it.

        Raises:
            LipSyncError: The answer is an error, or leads elsewhere.
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
            if response.status_code < 400 and not response.is_redirect:
                return response
            with response:
                raise from_body(_json_object(response), response.status_code)

    def _ask(
        self,
        adapter: TypeAdapter[T],
        method: str,
        path: str,
        *,
        data: Iterator[bytes] | bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> T:
        with self.send(method, path, data=data, headers=headers) as response:
            try:
                return adapter.validate_json(response.content)
            except (ValidationError, requests.RequestException) as error:
                raise UpstreamError("the backend's answer is not what was asked for") from error

    @contextmanager
    def _transport_errors(self, words: str = "does not answer") -> Iterator[None]:
        try:
            yield
        except requests.RequestException as error:
            raise BackendUnreachable(f"the backend at {self._url} {words}") from error


def succeeded(view: JobView) -> JobView:
    """A job that has ended well, as it is.

    Raises:
        LipSyncError: Why the job failed, or that it was cancelled.
    """
    if view.state is JobState.SUCCEEDED:
        return view
    if view.error is not None:
        raise from_body(view.error.model_dump(), view.error.status)
    if view.state is JobState.CANCELLED:
        raise Cancelled(f"job {view.id} was cancelled")
    raise LipSyncError(f"job {view.id} is {view.state}")


def _path(job_id: str) -> str:
    return f"/jobs/{quote(job_id, safe='')}"


def _json_object(response: requests.Response) -> dict[str, Any]:
    try:
        body = response.json()
    except requests.RequestException:
        return {}
    return body if isinstance(body, dict) else {}
