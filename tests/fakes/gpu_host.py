"""A loopback GPU host that renders a tiny video, and misbehaves on command."""

import email.parser
import email.policy
import hashlib
import json
import re
import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from contracts.errors import (
    Cancelled,
    EngineBusy,
    FaceNeeded,
    IdempotencyMismatch,
    LipSyncError,
    NotAuthorized,
    NotFound,
    RenderNotFound,
    SpeechNeeded,
)
from contracts.lipsync import EngineInfo, EngineStatus, RenderReport
from contracts.media import MediaView
from contracts.records import (
    RECORDS_MEDIA_TYPE,
    EndRecord,
    ErrorRecord,
    EventRecord,
    Framed,
    InitRecord,
    MediaRecord,
    ProgressRecord,
    encode_record,
)
from contracts.versions import API_HEADER
from tests.fakes.host_media import HostMedia
from tests.fakes.tiny_video import tiny_fragments

ENGINE = EngineStatus(
    info=EngineInfo(
        name="counting",
        title="Draws numbers",
        version="3",
        accepts=("photo", "video"),
        streaming=True,
        look_ahead_seconds=0.0,
        licence="none",
    ),
    ready=True,
)
REPORT = RenderReport(
    engine="counting",
    engine_version="3",
    width=64,
    height=64,
    fps=25,
    num_frames=25,
    seconds=1.0,
    stage_seconds={"decode": 0.01, "track": 0.02, "prepare": 0.03, "render": 0.5, "encode": 0.2},
)


def tiny_records(num_frames: int = 25) -> list[Framed]:
    """What a host sends of `tiny_fragments`, five frames a fragment."""
    init, *fragments = re.split(rb"(?=.{4}moof)", tiny_fragments(num_frames), flags=re.DOTALL)
    return [
        Framed(EventRecord(name="engine", value="counting")),
        Framed(ProgressRecord(stage="prepare", done=1, total=1)),
        Framed(InitRecord(), init),
        Framed(ProgressRecord(stage="render", done=0.5, total=1)),
        *(
            Framed(MediaRecord(seq=i + 1, start=i * 0.2, seconds=0.2), fragment)
            for i, fragment in enumerate(fragments)
        ),
        Framed(EndRecord(report=REPORT)),
    ]


@dataclass
class _Render:
    """One render that the host knows."""

    content: str
    records: list[Framed]
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    stopped: threading.Event = field(default_factory=threading.Event)


@dataclass
class FakeGpuHost:
    """What the host does next, and what it was sent."""

    token: str = ""
    url: str = ""
    busy_answers: int = 0
    """So many renders are refused first."""
    fail_before: LipSyncError | None = None
    """A problem instead of records."""
    fail_within: LipSyncError | None = None
    """An error record after the first records of each render that begins."""
    dies_after: int | None = None
    """The connection of every answer breaks after so many records."""
    cuts: list[int] = field(default_factory=list)
    """The connections of the next answers break after so many bytes of records."""
    hangs_up: int = 0
    """So many renders are taken, and the connection closed instead of an answer."""
    ends_early: bool = False
    """Answers end well-formed, without an end record."""
    babbles: bool = False
    """Answers with a web page."""
    gate: threading.Event | None = None
    """The render waits for it after `gate_after` records, and tells of progress meanwhile."""
    gate_after: int = 1
    silent: bool = False
    """It tells of no progress meanwhile."""
    num_frames: int = 25
    began: threading.Event = field(default_factory=threading.Event)
    """Set when a render has sent the records before the gate."""
    forms: list[dict[str, bytes]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    """Each request about a render: `POST key`, `GET key n`, `DELETE key`."""
    rendered: list[str] = field(default_factory=list)
    """The Render-Id of each render that was begun."""
    faces: dict[str, bytes] = field(default_factory=dict)
    """Faces that it keeps, by hash."""
    api: str = "1.1"
    """The version of the interface that it speaks; below 1.1 it takes no files ahead."""
    media: HostMedia = field(default_factory=HostMedia)
    """Files that were sent ahead."""
    _renders: dict[str, _Render] = field(default_factory=dict)
    _connections: set[socket.socket] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def renders(self) -> int:
        """How many renders were asked for, the refused ones included."""
        return len(self.forms)

    def cut(self) -> None:
        """Break every connection."""
        with self._lock:
            for connection in self._connections:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            self._connections.clear()

    def restart(self) -> None:
        """Die and come back, with nothing kept."""
        self.forget()
        self.faces.clear()
        self.media.forget()
        self.cut()

    def forget(self) -> None:
        """Know no render any more."""
        self._renders.clear()

    def opened(self, connection: socket.socket) -> None:
        """Somebody calls."""
        with self._lock:
            self._connections.add(connection)

    def closed(self, connection: socket.socket) -> None:
        """And hangs up."""
        with self._lock:
            self._connections.discard(connection)

    def holds(self, connection: socket.socket) -> bool:
        """Whether it has neither hung up nor been cut."""
        return connection in self._connections

    def find(self, key: str) -> _Render:
        """The render with this key."""
        if key not in self._renders:
            raise RenderNotFound("never heard of it")
        return self._renders[key]

    def mend(self, key: str) -> None:
        """Answers have an end again."""
        self.ends_early = False
        self.find(key).records = self._new_records()

    def replace(self, key: str) -> None:
        """Render it once more, as for somebody else."""
        known = self.find(key)
        self._renders[key] = new = _Render(known.content, known.records)
        self.rendered.append(new.id)

    def delete(self, key: str) -> None:
        """Stop it: whoever follows it is told."""
        self.find(key).stopped.set()
        del self._renders[key]

    def start(self, key: str, form: dict[str, bytes]) -> _Render:
        """The render of what was sent, the same for the same key."""
        if "face" in form:
            self.faces[hashlib.sha256(form["face"]).hexdigest()] = form["face"]
        face = form.get("face") or self._sent_before(form["face_sha256"].decode())
        if face is None:
            raise FaceNeeded("send it")
        speech = form.get("speech") or self.media.get(form["speech_sha256"].decode())
        if speech is None:
            raise SpeechNeeded("send it")
        content = repr((face, speech, form["options"], form.get("marks")))
        with self._lock:
            known = self._renders.get(key)
            if known and known.content != content:
                raise IdempotencyMismatch("another one")
            if known and not isinstance(known.records[-1].record, ErrorRecord):
                return known
            new = self._renders[key] = _Render(content, self._new_records())
            self.rendered.append(new.id)
            return new

    def _sent_before(self, face_sha256: str) -> bytes | None:
        return self.faces.get(face_sha256) or self.media.get(face_sha256)

    def ready(self, position: int) -> bool:
        """Whether renders have come to the record at a position; waits a little for it."""
        gate = self.gate
        return position < self.gate_after or gate is None or gate.wait(0.05)

    def _new_records(self) -> list[Framed]:
        records = tiny_records(self.num_frames)
        if self.fail_within:
            return [*records[:2], Framed(ErrorRecord(error=self.fail_within.body()))]
        return records[:-1] if self.ends_early else records


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Callers that hang up are part of the tests."""


class _Door(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    host: FakeGpuHost

    def setup(self) -> None:
        super().setup()
        self.host.opened(self.connection)

    def finish(self) -> None:
        self.host.closed(self.connection)
        super().finish()

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        if address.path == "/engines":
            self._guarded(lambda: self._send(200, "application/json", _engines()))
        elif address.path == "/health":
            health = {"status": "ok", "device": "cpu", "engines_ready": ["counting"]}
            self._send(
                200, "application/json", json.dumps(health | {"api": self.host.api}).encode()
            )
        elif address.path.startswith("/media/"):
            self._answer_media(lambda media, sha256: media.view(sha256))
        else:
            key = address.path.removeprefix("/render/")
            first = int(parse_qs(address.query)["from"][0])
            self.host.asked.append(f"GET {key} {first}")
            self._guarded(lambda: self._stream(self.host.find(key), first))

    def do_PUT(self) -> None:
        given = self.headers["Content-Range"]
        self._answer_media(lambda media, sha256: media.put(sha256, given, self.rfile))

    def _answer_media(self, ask: Callable[[HostMedia, str], MediaView]) -> None:
        sha256 = self.path.removeprefix("/media/")
        self.host.asked.append(f"{self.command} {sha256[:8]}")

        def answer() -> None:
            if self.host.api < "1.1":
                raise NotFound("there is nothing here")
            view = ask(self.host.media, sha256)
            self._send(200, "application/json", view.model_dump_json().encode())

        try:
            self._guarded(answer)
        except OSError:
            self._break_off()

    def do_DELETE(self) -> None:
        key = urlsplit(self.path).path.removeprefix("/render/")
        self.host.asked.append(f"DELETE {key}")

        def delete() -> None:
            self.host.delete(key)
            self._begin(204)
            self.end_headers()

        self._guarded(delete)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.host.headers.append(dict(self.headers))
        self.host.forms.append(_form(self.headers["Content-Type"], body))
        self.host.asked.append(f"POST {self.headers['Idempotency-Key']}")
        self._guarded(self._render)

    def _guarded(self, answer: Callable[[], None]) -> None:
        host = self.host
        try:
            if host.token and self.headers["Authorization"] != f"Bearer {host.token}":
                raise NotAuthorized("wrong token")
            if host.babbles:
                self._send(200, "text/html", b"<html>Welcome\n</html>")
            else:
                answer()
        except LipSyncError as error:
            self._problem(error)

    def _render(self) -> None:
        host = self.host
        if host.busy_answers:
            host.busy_answers -= 1
            raise EngineBusy("busy", retry_after_seconds=0)
        if host.fail_before:
            raise host.fail_before
        key = self.headers["Idempotency-Key"] or uuid.uuid4().hex
        render = host.start(key, host.forms[-1])
        if host.hangs_up:
            host.hangs_up -= 1
            self._break_off()
        else:
            self._stream(render)

    def _stream(self, render: _Render, first: int | None = None) -> None:
        host = self.host
        self._left = host.cuts.pop(0) if host.cuts else None
        self._begin(200)
        self.send_header("Content-Type", RECORDS_MEDIA_TYPE)
        self.send_header("Render-Id", render.id)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            for sent, record in enumerate(self._records(render, first)):
                if sent == host.dies_after:
                    raise BrokenPipeError
                self._send_chunk(record)
            self.wfile.write(b"0\r\n\r\n")
        except OSError:
            self._break_off()

    def _records(self, render: _Render, first: int | None) -> Iterator[bytes]:
        position = 0
        while position < len(render.records):
            if not self.host.holds(self.connection):
                raise BrokenPipeError
            if render.stopped.is_set():
                yield encode_record(ErrorRecord(error=Cancelled("stopped").body()))
                return
            if not self.host.ready(position):
                self.host.began.set()
                if not self.host.silent:
                    yield encode_record(ProgressRecord(stage="track", done=0, total=1))
                continue
            record, payload = render.records[position]
            position += 1
            seen = isinstance(record, InitRecord | MediaRecord) and record.seq < (first or 0)
            old = isinstance(record, ProgressRecord) and first is not None and position > 2
            if not seen and not old:
                yield encode_record(record, payload)
        self.host.began.set()

    def _send_chunk(self, record: bytes) -> None:
        whole = b"%x\r\n%s\r\n" % (len(record), record)
        if self._left is not None and self._left < len(record):
            self.wfile.write(whole[: len(whole) - len(record) - 2 + self._left])
            raise BrokenPipeError
        if self._left is not None:
            self._left -= len(record)
        self.wfile.write(whole)
        self.wfile.flush()

    def _begin(self, status: int) -> None:
        self.send_response(status)
        if self.host.api != "1.0":
            self.send_header(API_HEADER, self.host.api)

    def _break_off(self) -> None:
        self.close_connection = True
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def _problem(self, error: LipSyncError) -> None:
        body = error.body().model_dump_json().encode()
        seconds = error.retry_after_seconds
        headers = {} if seconds is None else {"Retry-After": f"{seconds:.0f}"}
        if self.command == "PUT":  # what was left unread of it is no next request
            headers["Connection"] = "close"
        self._send(error.http_status, "application/problem+json", body, headers)

    def _send(
        self, status: int, kind: str, body: bytes, headers: dict[str, str] | None = None
    ) -> None:
        self._begin(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


def _engines() -> bytes:
    return json.dumps([ENGINE.model_dump(mode="json")]).encode()


def _form(content_type: str, body: bytes) -> dict[str, bytes]:
    head = f"Content-Type: {content_type}\r\n\r\n".encode()
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + body)
    return {
        str(part.get_param("name", header="content-disposition")): part.get_payload(decode=True)
        for part in message.iter_parts()
    }


@contextmanager
def gpu_host(**behaviour: object) -> Iterator[FakeGpuHost]:
    """A running fake; change its fields at any time."""
    host = FakeGpuHost(**behaviour)  # type: ignore[arg-type]
    door = type("Door", (_Door,), {"host": host})
    server = _Server(("127.0.0.1", 0), door)
    host.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield host
    finally:
        host.cut()
        server.shutdown()
        thread.join()
        server.server_close()
