"""A loopback server that answers each connection with the next of its scripts, byte by byte."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class ScriptedServer:
    """What it was asked; each request's head as text."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.requests: list[str] = []
        self.bodies: list[bytes] = []
        self._asked = threading.Condition()

    def take(self, head: str, body: bytes) -> None:
        """Note a request."""
        with self._asked:
            self.requests.append(head)
            self.bodies.append(body)
            self._asked.notify_all()

    def wait_for(self, num_requests: int) -> None:
        """Until so many requests have come."""
        with self._asked:
            assert self._asked.wait_for(lambda: len(self.bodies) >= num_requests, 30)


def answer(
    body: bytes | str = b"", status: str = "200 OK", length: int | None = None, **headers: str
) -> bytes:
    """An HTTP answer; one of another length breaks off."""
    content = body.encode() if isinstance(body, str) else body
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    fields["Content-Length"] = str(len(content) if length is None else length)
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join([*lines, "", ""]).encode() + content


def chunked(*texts: str, whole: bool = False) -> bytes:
    """A chunked stream of text, a chunk each, that breaks off unless `whole`."""
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(text.encode()), text.encode()) for text in texts)
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
    return head + b"\r\n" + chunks + (b"0\r\n\r\n" if whole else b"")


@contextmanager
def scripted(*scripts: bytes) -> Iterator[ScriptedServer]:
    """Serve so many connections, one after another; later ones are refused."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = ScriptedServer(f"http://127.0.0.1:{listener.getsockname()[1]}")

        def serve() -> None:
            for script in scripts:
                try:
                    connection = listener.accept()[0]
                except OSError:
                    return
                with connection, connection.makefile("rb") as file:
                    head = [line := file.readline()]
                    while line.strip():
                        head.append(line := file.readline())
                    text = b"".join(head).decode()
                    server.take(text, file.read(_length(text)))
                    with suppress(OSError):  # who has seen enough may hang up
                        connection.sendall(script)
            listener.close()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server
        finally:
            # Wakes a thread that still waits for a caller; closing alone does not. It may be just
            # about to close it by itself.
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def _length(head: str) -> int:
    for line in head.splitlines():
        name, _, value = line.partition(":")
        if name.lower() == "content-length":
            return int(value)
    return 0
