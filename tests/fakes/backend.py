"""A loopback stand-in for the backend's HTTP API that answers as it is told."""

import io
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from flask import Flask, Request, Response, jsonify, request, send_file
from pydantic import BaseModel
from werkzeug.serving import WSGIRequestHandler, make_server

from contracts.errors import (
    GpuHostNotFound,
    GpuUnreachable,
    JobEnded,
    JobNotFound,
    JobNotRetriable,
    LipSyncError,
    NotAuthorized,
    VideoNotReady,
)
from contracts.hosts import FoundGpuHosts, GpuHostView, NewGpuHost, parse_connection
from contracts.jobs import JobPage, JobStage, JobState, JobView, Voice
from contracts.lipsync import EngineInfo, EngineStatus, LipSyncOptions, RenderReport
from contracts.problem import PROBLEM_JSON
from tests.fakes.growing import Drip, Jobs

VOICES = [
    Voice(id="gtts:en", name="English (online)", language="en", online=True, marks=False),
    Voice(
        id="espeak:en-us",
        name="English (America) (offline)",
        language="en-us",
        online=False,
        marks=True,
    ),
    Voice(id="gtts:de", name="German (online)", language="de", online=True, marks=False),
    Voice(id="espeak:de", name="German (offline)", language="de", online=False, marks=True),
]
FACEWARP = EngineStatus(
    info=EngineInfo(
        name="facewarp",
        title="Built-in engine, no GPU needed",
        version="1",
        accepts=("photo", "video"),
        streaming=True,
        look_ahead_seconds=0.3,
        licence="Apache-2.0",
        options=("motion", "seed"),
    ),
    ready=True,
)
PHOTOS_ONLY = FACEWARP.model_copy(
    update={
        "info": FACEWARP.info.model_copy(update={"name": "photos-only", "accepts": ("photo",)}),
    }
)
"""An engine that refuses videos."""

WAV2LIP = EngineStatus(
    info=EngineInfo(
        name="wav2lip",
        title="Speaks with photos and videos of a face",
        version="1",
        accepts=("photo", "video"),
        streaming=True,
        look_ahead_seconds=0.2,
        needs=("the checkpoint wav2lip_gan or wav2lip",),
        licence="research",
        options=("checkpoint", "detector", "pads", "paste"),
        checkpoints=("wav2lip_gan", "wav2lip"),
    ),
    ready=True,
    device="cuda",
    runtime="torch",
    precision="fp16",
    real_time=2.71,
    checkpoints=("wav2lip",),
)
WAV2LIP_MISSING = WAV2LIP.model_copy(
    update={
        "ready": False,
        "reason": "the checkpoint wav2lip_gan is not installed. Run: weights fetch wav2lip_gan.",
        "real_time": None,
        "checkpoints": (),
    }
)
WAV2LIP_LOADING = WAV2LIP_MISSING.model_copy(
    update={"loading": True, "reason": "it is being loaded", "checkpoints": ("wav2lip",)}
)


STREAM_TYPE = 'video/mp4; codecs="avc1.4d401e, mp4a.40.2"'


class FakeBackend:
    """What the fake answers, and what it was sent."""

    def __init__(self) -> None:
        self.url = ""
        self.token = ""
        self.video = bytes(range(256)) * 40
        self.voices = VOICES
        self.engines = [FACEWARP]
        self.no_gpu_host = False
        self.refuse: LipSyncError | None = None
        """What the next submission is answered with."""
        self.jobs = Jobs()
        """In the order in which they came."""
        self.streams: dict[str, Drip] = {}
        self.posters: dict[str, bytes] = {}
        self.hosts: list[GpuHostView] = []
        self.found: FoundGpuHosts | LipSyncError = FoundGpuHosts(configured=False)
        """What is found in the ngrok account, or why nothing is."""
        self.new_hosts: list[NewGpuHost] = []
        """What was sent to add hosts."""
        self.no_events = False
        """Whether events are refused, as by something on the way that does not know them."""
        self.forms: list[dict[str, str | bytes]] = []
        """Submitted fields; a file as its bytes."""
        self.headers: list[dict[str, str]] = []
        self.next_job = job_view(JobState.SUCCEEDED, JobStage.DONE)
        self.discard = False
        """Whether to count submitted bytes instead of keeping them."""
        self.num_bytes = 0
        self.broken_off = 0
        """Submissions whose body ended too early."""

    def app(self) -> Flask:
        """The HTTP API over this object."""
        app = Flask(__name__)
        app.register_error_handler(LipSyncError, _problem)
        app.add_url_rule("/voices", view_func=lambda: _list(self.voices), endpoint="voices")
        app.add_url_rule("/engines", view_func=self._engines)
        app.add_url_rule("/health/ready", view_func=self._ready)
        app.add_url_rule("/generate-from-<kind>", view_func=self._generate, methods=["POST"])
        app.add_url_rule("/jobs", view_func=self._list_jobs)
        app.add_url_rule("/jobs/<job_id>", view_func=self._job)
        app.add_url_rule("/jobs/<job_id>", view_func=self._delete, methods=["DELETE"])
        app.add_url_rule("/jobs/<job_id>/events", view_func=self._events)
        app.add_url_rule("/jobs/<job_id>/stream", view_func=self._stream)
        app.add_url_rule("/jobs/<job_id>/video", view_func=self._video)
        app.add_url_rule("/jobs/<job_id>/poster", view_func=self._poster)
        app.add_url_rule("/jobs/<job_id>/cancel", view_func=self._cancel, methods=["POST"])
        app.add_url_rule("/jobs/<job_id>/retry", view_func=self._retry, methods=["POST"])
        app.add_url_rule("/gpu-hosts", view_func=lambda: _list(self.hosts), endpoint="hosts")
        app.add_url_rule("/gpu-hosts/found", view_func=self._found_hosts)
        app.add_url_rule("/gpu-hosts", view_func=self._add_host, methods=["POST"])
        app.add_url_rule("/gpu-hosts/<host>", view_func=self._remove_host, methods=["DELETE"])
        return app

    def _engines(self) -> Response:
        if self.token and request.headers.get("Authorization") != f"Bearer {self.token}":
            raise NotAuthorized("the token is wrong")
        if self.no_gpu_host:
            raise GpuUnreachable("no GPU host answers at http://127.0.0.1:9000")
        return _list(self.engines)

    def _ready(self) -> Response:
        self._engines()
        return jsonify(status="ok", gpu_host="http://127.0.0.1:9000", engines=["facewarp"])

    def _generate(self, kind: str) -> Response:
        self.headers.append(dict(request.headers))
        try:
            form = self._form()
        except OSError:
            self.broken_off += 1
            raise
        if self.refuse is not None:
            raise self.refuse
        self.forms.append({"kind": kind, **form})
        self.jobs[self.next_job.id] = self.next_job
        answer = _view(self.next_job)
        answer.status_code = 202
        answer.headers["Location"] = f"/jobs/{self.next_job.id}"
        return answer

    def _form(self) -> dict[str, str | bytes]:
        body = bytearray()
        while chunk := request.stream.read(65_536):
            self.num_bytes += len(chunk)
            if not self.discard:
                body += chunk
        again = Request.from_values(
            method="POST", data=bytes(body), content_type=request.content_type
        )
        with again:
            return {**again.form, **{name: file.read() for name, file in again.files.items()}}

    def _list_jobs(self) -> Response:
        newest_first = list(reversed(self.jobs.values()))
        start = int(request.args.get("cursor", 0))
        end = start + int(request.args.get("limit", 20))
        cursor = str(end) if end < len(newest_first) else None
        return _view(JobPage(jobs=tuple(newest_first[start:end]), next_cursor=cursor))

    def _known(self, job_id: str) -> JobView:
        if job_id not in self.jobs:
            raise JobNotFound(f"there is no job {job_id}")
        return self.jobs[job_id]

    def _job(self, job_id: str) -> Response:
        return _view(self._known(job_id))

    def _delete(self, job_id: str) -> Response:
        self._known(job_id)
        self.jobs.remove(job_id)
        return Response(status=204)

    def _events(self, job_id: str) -> Response:
        job = self._known(job_id)
        if self.no_events:
            raise VideoNotReady("no events here")
        last = request.headers.get("Last-Event-ID")
        if last == str(job.version) and job.state.final:
            return Response(status=204)
        return Response(
            self._told(job_id, None if last is None else int(last)), mimetype="text/event-stream"
        )

    def _told(self, job_id: str, version: int | None) -> Iterator[str]:
        yield ": here\n\n"
        for job in self.jobs.follow(job_id, version):
            yield f"event: job\nid: {job.version}\ndata: {job.model_dump_json()}\n\n"

    def _stream(self, job_id: str) -> Response:
        job = self._known(job_id)
        if not job.stream or job_id not in self.streams:
            raise VideoNotReady("the first picture has not come yet", retry_after_seconds=1)
        answer = Response(self.streams[job_id].read(), content_type=STREAM_TYPE)
        answer.headers["X-Stream"] = str(job.stream)
        return answer

    def _video(self, job_id: str) -> Response:
        return send_file(
            io.BytesIO(self.video), mimetype="video/mp4", conditional=True, etag="video"
        )

    def _poster(self, job_id: str) -> Response:
        if job_id not in self.posters:
            raise VideoNotReady("there is no poster yet")
        return Response(self.posters[job_id], mimetype="image/jpeg")

    def _cancel(self, job_id: str) -> Response:
        if self._known(job_id).state.final:
            raise JobEnded("the job has ended")
        now = datetime.now(UTC)
        return _view(self.jobs.change(job_id, state=JobState.CANCELLED, finished_at=now))

    def _retry(self, job_id: str) -> Response:
        if self._known(job_id).state not in (JobState.FAILED, JobState.CANCELLED):
            raise JobNotRetriable("the job has not failed")
        job = self.jobs.change(
            job_id, state=JobState.QUEUED, stage=JobStage.WAITING, error=None, finished_at=None
        )
        answer = _view(job)
        answer.status_code = 202
        return answer

    def _found_hosts(self) -> Response:
        if isinstance(self.found, LipSyncError):
            raise self.found
        return _view(self.found)

    def _add_host(self) -> Response:
        if self.refuse is not None:
            raise self.refuse
        new = NewGpuHost.model_validate_json(request.get_data())
        self.new_hosts.append(new)
        url = parse_connection(new.connection).url if new.connection else new.url
        host = host_view(id=str(len(self.hosts)), name=new.name or url.split("//")[1], url=url)
        self.hosts.append(host)
        answer = _view(host)
        answer.status_code = 201
        return answer

    def _remove_host(self, host: str) -> Response:
        left = [each for each in self.hosts if each.id != host]
        if len(left) == len(self.hosts):
            raise GpuHostNotFound(f"there is no GPU host {host}")
        self.hosts = left
        return Response(status=204)


def host_view(**changes: object) -> GpuHostView:
    """A GPU host that does well."""
    host = GpuHostView(
        id="first",
        name="This computer",
        url="http://127.0.0.1:9000",
        healthy=True,
        checked_at=datetime.now(UTC),
        device="cpu",
        engines=(FACEWARP,),
    )
    return host.model_copy(update=changes)


PLAIN_HOST: dict[str, object] = {
    "id": "plain",
    "kind": "plain",
    "name": "seed.example",
    "url": "https://seed.example",
    "device": "",
    "engines": (
        WAV2LIP.model_copy(update={"device": "", "runtime": "built-in", "real_time": None}),
    ),
}
"""What a host says of which only `POST /run-wav2lip` is known."""


def job_view(state: JobState, stage: JobStage, **changes: object) -> JobView:
    """A job as the backend shows it in that state."""
    done = state == JobState.SUCCEEDED
    now = datetime.now(UTC)
    job = JobView(
        id="0123456789abcdef0123456789abcdef",
        state=state,
        stage=stage,
        progress=1.0 if done else 0.42,
        created_at=now - timedelta(seconds=5),
        started_at=now - timedelta(seconds=5),
        finished_at=now if state.final else None,
        options=LipSyncOptions(),
        engine="facewarp",
        voice="espeak:en-us",
        speech_seconds=4.3,
        stage_seconds={"speak": 0.2, "decode": 0.1, "track": 0.3, "prepare": 0.4, "render": 2.1},
        report=_REPORT if done else None,
    )
    return job.model_copy(update=changes)


_REPORT = RenderReport(
    engine="facewarp",
    engine_version="1",
    width=512,
    height=512,
    fps=25.0,
    num_frames=108,
    seconds=4.32,
)


class _RequestHandler(WSGIRequestHandler):
    # With HTTP/1.0 a stream that breaks off looks like one that has ended.
    protocol_version = "HTTP/1.1"


@contextmanager
def serve(backend: FakeBackend) -> Iterator[FakeBackend]:
    """Serve the fake on a free loopback port."""
    server = make_server(
        "127.0.0.1", 0, backend.app(), threaded=True, request_handler=_RequestHandler
    )
    server.daemon_threads = False  # so that closing waits for them
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    backend.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield backend
    finally:
        backend.jobs.close()
        for stream in backend.streams.values():
            stream.break_off()
            stream.end()
        server.shutdown()
        thread.join()


def _list(models: Sequence[BaseModel]) -> Response:
    return jsonify([model.model_dump(mode="json") for model in models])


def _view(model: BaseModel) -> Response:
    return Response(model.model_dump_json(), mimetype="application/json")


def _problem(error: LipSyncError) -> Response:
    body = error.body("request-of-the-backend").model_dump_json()
    return Response(body, status=error.http_status, mimetype=PROBLEM_JSON)
