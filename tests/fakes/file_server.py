"""A web server with one file, which it may break off, change, or give as a page."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class FileServer:
    """What the server gives, and what it was asked."""

    content: bytes
    etag: str = '"first"'
    """Empty names no version."""
    content_type: str = "application/octet-stream"
    status: int = 200
    says_where: bool = True
    """Whether a part comes with its `Content-Range`."""
    breaks: list[int] = field(default_factory=list)
    """After how many bytes the next answers break off."""
    ranges: list[str] = field(default_factory=list)
    """The `Range` of each request, empty where there was none."""
    url: str = ""


@contextmanager
def serving_file(content: bytes, **how: Any) -> Iterator[FileServer]:
    """A running server on a free loopback port."""
    server = FileServer(content, **how)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            _answer(self, server)

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listener:
        server.url = f"http://127.0.0.1:{listener.server_port}/file.pth"
        thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            listener.shutdown()
            thread.join()


def _answer(handler: BaseHTTPRequestHandler, server: FileServer) -> None:
    asked = handler.headers.get("Range", "")
    server.ranges.append(asked)
    same = handler.headers.get("If-Range", server.etag) == server.etag
    start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and same else 0
    part = server.content[start:]
    total = len(server.content)
    if start >= total > 0:
        handler.send_response(416)
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return
    handler.send_response(206 if start else server.status)
    if start and server.says_where:
        handler.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
    if server.etag:
        handler.send_header("ETag", server.etag)
    handler.send_header("Content-Type", server.content_type)
    handler.send_header("Content-Length", str(len(part)))
    handler.end_headers()
    if server.breaks:
        part = part[: server.breaks.pop(0)]
        handler.close_connection = True
    handler.wfile.write(part)
