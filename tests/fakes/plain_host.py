"""A loopback host as the seed has it: Flask with `POST /run-wav2lip` and nothing else."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from flask import Flask, Response, jsonify, request
from werkzeug.serving import WSGIRequestHandler, make_server

from tests.media import media_file


@dataclass
class PlainHost:
    """What the host does next, and what it was sent."""

    url: str = ""
    token: str = ""
    video: bytes = field(
        default_factory=lambda: media_file("mp4", sound="aac", video="libx264", seconds=5.0)
    )
    kind: str = "video/mp4"
    status: int = 200
    """Of its answers to POST; other than 200, `said` is their body."""
    said: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    short: int = 0
    """So many bytes of the video are promised, and never sent."""
    breaks: int = 0
    """So many answers break off."""
    gate: threading.Event | None = None
    """It renders until this is set."""
    began: threading.Event = field(default_factory=threading.Event)
    sent: list[dict[str, tuple[str, bytes]]] = field(default_factory=list)
    """The name and the bytes of each file, for each request."""
    asked: list[str] = field(default_factory=list)
    """Method and path of every request."""
    closed: threading.Event = field(default_factory=threading.Event)
    """Set when a caller was gone when the answer was there."""

    def app(self) -> Flask:
        """The host as a WSGI app."""
        app = Flask(__name__)
        app.before_request(lambda: self.asked.append(f"{request.method} {request.path}"))
        app.add_url_rule("/run-wav2lip", view_func=self._run, methods=["POST"])
        return app

    def _run(self) -> Response:
        if self.token and request.headers.get("Authorization") != f"Bearer {self.token}":
            return Response("who are you", status=401)
        files = {name: (each.filename or "", each.read()) for name, each in request.files.items()}
        self.sent.append(files)
        self.began.set()
        if self.gate is not None:
            assert self.gate.wait(60)
        if self.status != 200:
            return Response(self.said, self.status, self.headers, content_type=self.kind)
        if self.kind == "application/json":
            return jsonify(video="elsewhere")
        return Response(
            self._body(), content_type=self.kind, headers={"Content-Length": str(len(self.video))}
        )

    def _body(self) -> Iterator[bytes]:
        try:
            half = len(self.video) // 2
            yield self.video[:half]
            if self.breaks:
                self.breaks -= 1
                return
            yield self.video[half:]
        except GeneratorExit:
            self.closed.set()
            raise


class _Handler(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log(self, *_: object) -> None:
        pass


@contextmanager
def plain_host(**behaviour: object) -> Iterator[PlainHost]:
    """A running one; change its fields at any time."""
    host = PlainHost(**behaviour)  # type: ignore[arg-type]
    server = make_server("127.0.0.1", 0, host.app(), threaded=True, request_handler=_Handler)
    server.daemon_threads = True
    host.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield host
    finally:
        if host.gate is not None:
            host.gate.set()
        server.shutdown()
        thread.join()
        server.server_close()
