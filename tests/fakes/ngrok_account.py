"""A loopback stand-in for ngrok's own API, of which only the list of endpoints is asked."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from flask import Flask, Response, jsonify, request
from werkzeug.serving import make_server


@dataclass
class NgrokAccount:
    """What the account has, and how it was asked."""

    key: str
    url: str = ""
    endpoints: list[dict[str, object]] = field(default_factory=list)
    """As ngrok lists them; see `endpoint`."""
    status: int = 200
    asked: list[dict[str, str]] = field(default_factory=list)
    """The headers of each request."""
    gate: threading.Event | None = None
    """Answers wait for it."""

    def app(self) -> Flask:
        """The API."""
        app = Flask(__name__)
        app.add_url_rule("/endpoints", view_func=self._list)
        return app

    def _list(self) -> Response:
        self.asked.append(dict(request.headers))
        if self.gate is not None:
            assert self.gate.wait(60)
        sent = request.headers.get("Authorization", "")
        if sent != f"Bearer {self.key}" or request.headers.get("Ngrok-Version") != "2":
            # As ngrok does: it repeats the key.
            answer = jsonify(error_code="ERR_NGROK_206", status_code=400, msg=f"{sent} is no key")
            answer.status_code = 400
            return answer
        answer = jsonify(endpoints=self.endpoints, uri="https://api.ngrok.com/endpoints")
        answer.status_code = self.status
        return answer


def endpoint(url: str, **fields: object) -> dict[str, object]:
    """One endpoint as ngrok's API shows it."""
    return {"id": "ep_1", "public_url": url, "url": url, "proto": "https", **fields}


@contextmanager
def ngrok_account(key: str, *urls: str) -> Iterator[NgrokAccount]:
    """A running one, with endpoints at these addresses."""
    account = NgrokAccount(key, endpoints=[endpoint(url) for url in urls])
    server = make_server("127.0.0.1", 0, account.app(), threaded=True)
    account.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield account
    finally:
        if account.gate is not None:
            account.gate.set()
        server.shutdown()
        thread.join()
        server.server_close()
