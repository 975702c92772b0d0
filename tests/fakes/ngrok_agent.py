"""A stand-in for ngrok's agent, as pyngrok drives it: its arguments, its log, its local web API.

It also stands in for ngrok's edge, where the public addresses are. It is not ngrok: it shows what
our code does with pyngrok, and what pyngrok does with an agent that behaves like this.
"""

import json
import os
import re
import signal
import sys
import threading
import uuid
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import FrameType
from typing import Any
from urllib.parse import urlsplit

import requests

from tests.processes import is_running, wait_while_wanted

GOOD = "2abcGOODauthtoken_0123456789"
DEV_DOMAIN = "lipsync-stand-in.ngrok-free.dev"
FIRST_PORT = 4040
"""Where the agent's web API is, or on the next port that is free."""


class NgrokStandIn:
    """An installed stand-in, and what the test wants of it.

    Args:
        folder: Takes the program and what it notes.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "ngrok"
        root = Path(__file__).parents[2]
        self.path.write_text(
            f"#!{sys.executable}\n"
            f"import sys\nsys.path.insert(0, {str(root)!r})\n"
            "from tests.fakes.ngrok_agent import run_agent\n"
            f"run_agent({str(folder)!r})\n"
        )
        self.path.chmod(0o700)
        self.want()

    def want(self, **wishes: object) -> None:
        """How it is to behave from now on; see `_WISHES`."""
        whole = self.folder / "wishes.new"
        whole.write_text(json.dumps(_WISHES | wishes))
        whole.replace(self.folder / "wishes.json")

    def starts(self) -> list[dict[str, Any]]:
        """Each start of the agent: its arguments, process id, and where its parts listen."""
        file = self.folder / "starts.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def posts(self) -> list[dict[str, Any]]:
        """The endpoints that it was asked for."""
        file = self.folder / "posts.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def deleted(self) -> list[str]:
        """The names of endpoints that it was told to end."""
        file = self.folder / "deleted.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def ask(self, url: str, path: str, method: str = "GET", **request: Any) -> requests.Response:
        """A request to a public address, as if it were on the internet."""
        headers = {"Host": urlsplit(url).netloc, **request.pop("headers", {})}
        edge = self.starts()[-1]["edge"]
        return requests.request(
            method, f"http://127.0.0.1:{edge}{path}", headers=headers, timeout=30, **request
        )

    def take_offline(self) -> None:
        """End the endpoints, as ngrok's dashboard can, while the agent runs on."""
        web = f"http://127.0.0.1:{self.starts()[-1]['web']}/api/endpoints"
        for each in requests.get(web, timeout=30).json()["endpoints"]:
            requests.delete(f"{web}/{each['name']}", timeout=30)

    def crash(self) -> None:
        """Kill the agent."""
        os.kill(self.starts()[-1]["pid"], signal.SIGKILL)

    def running(self) -> list[int]:
        """Process ids of agents that run."""
        return [each["pid"] for each in self.starts() if is_running(each["pid"])]


_WISHES: dict[str, Any] = {
    "authtoken": GOOD,
    "sessions_elsewhere": 0,
    "max_sessions": 3,
    "domains": [DEV_DOMAIN],
    "online_elsewhere": [],
    "changing_address": False,
    "dumb": False,
    "breaking_off": False,
}
"""The account: its authtoken, how many agents run elsewhere, how many may run, its domains, which
of them other agents hold. Whether each endpoint gets another address, whether the agent's web API
answers nothing but errors, and whether its answers break off, once it has said that it is there."""


def run_agent(folder: str) -> None:
    """Be the agent."""
    _Agent(Path(folder)).run(sys.argv[1:])


class _Agent:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.endpoints: dict[str, dict[str, Any]] = {}

    @property
    def wishes(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "wishes.json").read_text())
        return found

    def run(self, arguments: list[str]) -> None:
        if arguments[:1] != ["start"] or "--none" not in arguments:
            sys.exit(f"unknown command: {arguments}")
        config: dict[str, Any] = {}
        if "--config" in arguments:
            # JSON, as our code writes it.
            config = json.loads(Path(arguments[arguments.index("--config") + 1]).read_text())
            _say("info", "open config file", err="nil")
        token = config.get("agent", {}).get("authtoken", "")
        start = {"pid": os.getpid(), "arguments": arguments, "mode": ""}
        if "--config" in arguments:
            file = Path(arguments[arguments.index("--config") + 1])
            start["mode"] = oct(file.stat().st_mode & 0o777)
        web = _listen(FIRST_PORT, _handler(self, _WebApi))
        edge = _listen(0, _handler(self, _Edge))
        start |= {"web": web.server_port, "edge": edge.server_port}
        _note(self.folder / "starts.jsonl", start)
        _say("info", "starting web service", obj="web", addr=f"127.0.0.1:{web.server_port}")
        refusal = self._refusal(token)
        if refusal:
            _say("eror", "failed to auth", obj="tunnels.session", err=refusal)
            _say("crit", "command failed", err=refusal)
            sys.exit(1)
        _say("info", "client session established", obj="tunnels.session")
        _say("info", "tunnel session started", obj="tunnels.session")
        ended = threading.Event()

        def end(number: int, frame: FrameType | None) -> None:
            del number, frame
            ended.set()

        signal.signal(signal.SIGTERM, end)
        wait_while_wanted(ended)

    def _refusal(self, token: str) -> str:
        wishes = self.wishes
        if not token:
            return "authentication failed: an account is needed\n\nERR_NGROK_4018\n"
        if token != wishes["authtoken"]:
            code = "105" if len(token) < 20 else "107"
            return f"authentication failed\nYour authtoken: {token}\n\nERR_NGROK_{code}\n"
        if wishes["sessions_elsewhere"] >= wishes["max_sessions"]:
            return f"limited to {wishes['max_sessions']} agent sessions\n\nERR_NGROK_108\n"
        return ""

    def open(self, asked: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        _note(self.folder / "posts.jsonl", asked)
        wishes = self.wishes
        if not asked.get("upstream", {}).get("url") or not asked.get("name"):
            return 400, _failed("an endpoint has a name and an upstream", "ERR_NGROK_9000")
        url = asked.get("url") or f"https://{wishes['domains'][0]}"
        if wishes["changing_address"]:
            url = f"https://{uuid.uuid4().hex[:12]}.ngrok-free.dev"
        domain = urlsplit(url).netloc
        if domain not in wishes["domains"] and not wishes["changing_address"]:
            return 502, _failed(f"{domain} is not reserved", "ERR_NGROK_319")
        if domain in wishes["online_elsewhere"]:
            return 502, _failed(f"The endpoint '{url}' is already online.", "ERR_NGROK_334")
        endpoint = {"name": asked["name"], "url": url, "upstream": asked["upstream"]}
        self.endpoints[asked["name"]] = endpoint
        _say("info", "started tunnel", obj="tunnels", name=asked["name"], url=url)
        return 201, endpoint


def _failed(why: str, code: str) -> dict[str, Any]:
    return {
        "error_code": 103,
        "status_code": 502,
        "msg": "failed to start tunnel",
        "details": {"err": f"failed to start tunnel: {why}\r\n\r\n{code}\r\n"},
    }


class _WebApi(BaseHTTPRequestHandler):
    agent: _Agent

    def do_GET(self) -> None:
        if self.agent.wishes["dumb"]:
            self._answer(500, {})
        else:
            self._answer(200, {"endpoints": list(self.agent.endpoints.values())})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(*self.agent.open(json.loads(body)))

    def do_DELETE(self) -> None:
        name = self.path.rpartition("/")[2]
        _note(self.agent.folder / "deleted.jsonl", name)
        self._answer(204 if self.agent.endpoints.pop(name, None) else 404, None)

    def _answer(self, status: int, body: dict[str, Any] | None) -> None:
        data = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data[: len(data) // 2] if self.agent.wishes["breaking_off"] else data)

    def log_message(self, *args: object) -> None:
        pass


class _Edge(BaseHTTPRequestHandler):
    agent: _Agent

    def _relay(self) -> None:
        asked = f"https://{self.headers['Host']}"
        upstream = [
            each["upstream"]["url"]
            for each in self.agent.endpoints.values()
            if each["url"] == asked
        ]
        if not upstream:
            self.send_response(404)
            self.send_header("Ngrok-Error-Code", "ERR_NGROK_3200")
            self.end_headers()
            return
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        connection = HTTPConnection(urlsplit(upstream[0]).netloc, timeout=60)
        connection.request(self.command, self.path, body, dict(self.headers))
        answer = connection.getresponse()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("transfer-encoding", "connection", "date", "server"):
                self.send_header(name, value)
        self.end_headers()
        while piece := answer.read1(65_536):
            self.wfile.write(piece)
        connection.close()

    do_GET = do_POST = do_PUT = do_DELETE = _relay  # noqa: N815 - as the library calls them

    def log_message(self, *args: object) -> None:
        pass


def _handler(agent: _Agent, kind: type[Any]) -> type[Any]:
    return type(kind.__name__, (kind,), {"agent": agent})


def _listen(port: int, handler: type[Any]) -> ThreadingHTTPServer:
    while True:
        try:
            server = _Server(("127.0.0.1", port), handler)
        except OSError:
            port += 1
        else:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            return server


class _Server(ThreadingHTTPServer):
    allow_reuse_address = False


def _note(file: Path, entry: dict[str, Any] | str) -> None:
    with file.open("a") as notes:
        notes.write(json.dumps(entry) + "\n")


def _say(lvl: str, msg: str, **more: str) -> None:
    """A line of the agent's log, in its form."""
    pairs = {"t": "2026-01-01T00:00:00+0000", "lvl": lvl, "msg": msg, **more}
    line = " ".join(f"{key}={_quoted(value)}" for key, value in pairs.items())
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _quoted(value: str) -> str:
    plain = re.fullmatch(r"[\w.:/@-]+", value)
    return value if plain else json.dumps(value)
