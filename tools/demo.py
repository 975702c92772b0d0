"""Make one video through the frontend's own form, as a person with a browser would."""

import argparse
import html
import http.client
import http.cookiejar
import json
import re
import secrets
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tools import services
from tools.environment import ROOT, Environment, say

FACE = ROOT / "samples" / "portrait.jpg"
TEXT = "Hello! This face was a still photo a few seconds ago. Now it says whatever you type."
STAGES = {
    "speak": "speech",
    "decode": "decode",
    "track": "track",
    "prepare": "prepare",
    "render": "render",
    "compose": "compose",
    "encode": "encode",
    "finish": "finish",
}
"""`JobView.stage_seconds` keys, in the order in which they happen, and their names for people."""


NO_ANSWER = (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError)


class DemoFailed(Exception):
    """The video could not be made; the message says why and what to do."""


def demo(arguments: argparse.Namespace) -> None:
    """Set up, start the services, send face and speech, write the MP4, say what took how long.

    Raises:
        DemoFailed: The services refused or failed to make the video.
        SetupFailed: The environment could not be made.
        ServiceDied: A service ended.
    """
    started = time.monotonic()
    check_files(arguments)
    environment = Environment()
    seconds = {"set-up": environment.ensure("default")}
    with tempfile.TemporaryDirectory(prefix="lipsync-demo-") as folder:
        begun = time.monotonic()
        wiring = services.wiring(services.free_ports(), isolated_in=Path(folder))
        say("starting the frontend, the backend and the GPU host")
        with services.running(environment.python, ROOT, wiring, Path(folder)) as stack:
            stack.wait_until_healthy()
            seconds["start"] = time.monotonic() - begun
            try:
                sent = time.monotonic()
                job = make_video(stack, arguments)
                seconds |= stages(job)
                seconds["video"] = time.monotonic() - sent
            except NO_ANSWER as error:
                stack.check()
                raise DemoFailed(f"a service stopped answering: {error}") from error
            except OSError as error:  # one of the person's files
                name = error.filename or arguments.output
                raise DemoFailed(f"{name}: {error.strerror}") from error
    seconds["total"] = time.monotonic() - started
    say(summary(job, seconds, arguments.output))


def check_files(arguments: argparse.Namespace) -> None:
    """Refuse files that can't be used before anything is started.

    Raises:
        DemoFailed: A file to read is missing, or the output can't be written.
    """
    for option, path in (("--face", arguments.face), ("--speech", arguments.speech)):
        if path is not None and not path.is_file():
            raise DemoFailed(f"{option} {path}: there is no such file")
    output = arguments.output
    if output.is_dir():
        raise DemoFailed(f"--output {output}: this is a folder; name a file")
    folder = output.resolve().parent
    if not folder.is_dir():
        raise DemoFailed(f"--output {output}: the folder {folder} does not exist")
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        why = error.strerror
        raise DemoFailed(f"--output {output}: can't write into {folder}: {why}") from error


def make_video(stack: services.Stack, arguments: argparse.Namespace) -> dict[str, Any]:
    """Submit the form, wait for the job, download the result.

    Returns:
        The finished job, as `contracts.jobs.JobView` in JSON.
    """
    browser = Browser(stack.url)
    fields = {"consent": "y", "engine": arguments.engine}
    files = {"image": arguments.face}
    if arguments.speech is None:
        door = "text"
        fields["text"] = arguments.text
    else:
        door = "audio"
        files["audio"] = arguments.speech
    spoken = arguments.speech.name if arguments.speech else f"“{arguments.text}”"
    say(f"sending {arguments.face.name} and {spoken}")
    job_id = browser.submit(f"/make/{door}", fields, files)
    job = wait(stack, browser, job_id)
    if job["state"] != "succeeded":
        raise DemoFailed(failure(job.get("error") or {}, stack))
    browser.download(f"/jobs/{job_id}/video", arguments.output)
    return job


def wait(stack: services.Stack, browser: "Browser", job_id: str) -> dict[str, Any]:
    """Say what the job is doing until it has ended.

    Raises:
        ServiceDied: A service ended meanwhile.
    """
    stage = ""
    while True:
        stack.check()
        job = browser.job(job_id)
        if job["state"] in ("succeeded", "failed", "cancelled"):
            return job
        if job["stage"] != stage:
            stage = job["stage"]
            say(f"  {stage}")
        time.sleep(0.1)


def failure(error: Mapping[str, Any], stack: services.Stack) -> str:
    """Why a job failed; where nobody foresaw it, with what the services logged last."""
    if error.get("code") != "INTERNAL":
        return problem(error)
    logs = (f"The {each.name}'s last log lines:\n{each.last_lines()}" for each in stack.services)
    return "\n".join([problem(error), *logs])


def problem(body: Mapping[str, Any]) -> str:
    """An error of ours, in words."""
    detail = body.get("detail") or "the job failed without saying why"
    return f"{detail}\n{body.get('hint') or ''}".strip()


def stages(job: Mapping[str, Any]) -> dict[str, float]:
    """Seconds by stage, under their names for people."""
    spent = job["stage_seconds"]
    return {name: spent[key] for key, name in STAGES.items() if key in spent}


def summary(job: Mapping[str, Any], seconds: Mapping[str, float], output: Path) -> str:
    """What happened, stage by stage, and how fast that is.

    `video` is the time from sending the form to having the file, with all stages but the set-up and
    the start.
    """
    speech = job["speech_seconds"]
    lines = [f"\n{output}: {speech:.1f} s of speech by the engine {job['engine']}"]
    lines[0] += f", spoken by {job['voice']}" if job.get("voice") else ", from a recording"
    for name, value in seconds.items():
        note = "nothing to do" if name == "set-up" and not value else ""
        if name in ("render", "video") and value > 0:
            note = f"{speech / value:.2f} × real time"
        lines.append(f"  {name:<8} {value:7.2f} s   {note}".rstrip())
    warnings = (job.get("report") or {}).get("warnings") or []
    return "\n".join([*lines, *(f"  note: {warning}" for warning in warnings)])


class Browser:
    """As much of a web browser as a form needs: cookies, redirects, multipart uploads.

    Args:
        url: Where the frontend is.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        cookies = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
        no_proxy = urllib.request.ProxyHandler({})  # the services are on this machine
        self._opener = urllib.request.build_opener(no_proxy, cookies)

    def submit(self, path: str, fields: Mapping[str, str], files: Mapping[str, Path]) -> str:
        """Send a form of the start page.

        Returns:
            The id of the job that it started.

        Raises:
            DemoFailed: The form came back with an error.
        """
        page = self._text(f"{self._url}/")
        token = re.search(r'name="csrf_token"[^>]*?value="([^"]+)"', page)
        if token is None:
            raise DemoFailed("the frontend's page has no form")
        boundary = secrets.token_hex(16)
        # The token goes first, so that the frontend can refuse before it reads the files.
        body = b"".join(
            multipart({"csrf_token": html.unescape(token[1])} | dict(fields), files, boundary)
        )
        request = urllib.request.Request(
            self._url + path,
            body,
            {
                "Content-Type": f"multipart/form-data; boundary={boundary}",
                "Origin": self._url,
                "Accept": "application/json",
            },
        )
        return str(json.loads(self._text(request))["id"])

    def job(self, job_id: str) -> dict[str, Any]:
        """How a job is doing, as `contracts.jobs.JobView` in JSON."""
        return dict(json.loads(self._text(f"{self._url}/jobs/{job_id}.json")))

    def download(self, path: str, target: Path) -> None:
        """Save a file, whole or not at all."""
        partial = target.with_name(f".{target.name}.part")
        try:
            with self._open(self._url + path) as answer, partial.open("wb") as file:
                while block := answer.read(1 << 20):
                    file.write(block)
                if answer.length:  # what is still missing; http.client does not complain
                    raise DemoFailed("the video broke off while it was downloaded")
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)

    def _text(self, request: str | urllib.request.Request) -> str:
        with self._open(request) as answer:
            return answer.read().decode()

    def _open(self, request: str | urllib.request.Request) -> http.client.HTTPResponse:
        try:
            answer: http.client.HTTPResponse = self._opener.open(request, timeout=120)
        except urllib.error.HTTPError as error:
            raise DemoFailed(refusal(error)) from error
        return answer


def refusal(error: urllib.error.HTTPError) -> str:
    """Why the frontend refused, from the problem JSON that it answers with."""
    body = error.read().decode(errors="replace")
    try:
        return problem(json.loads(body))
    except ValueError:
        return f"the frontend answered {error.code} {error.reason}"


def multipart(
    fields: Mapping[str, str], files: Mapping[str, Path], boundary: str
) -> Iterator[bytes]:
    """A multipart/form-data body, part by part."""
    for name, value in fields.items():
        disposition = f'Content-Disposition: form-data; name="{name}"'
        yield f"--{boundary}\r\n{disposition}\r\n\r\n{value}\r\n".encode()
    for name, path in files.items():
        # Quotes and line ends as browsers escape them (HTML, 4.10.22.8).
        file_name = path.name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
        disposition = f'Content-Disposition: form-data; name="{name}"; filename="{file_name}"'
        kind = "Content-Type: application/octet-stream"
        yield f"--{boundary}\r\n{disposition}\r\n{kind}\r\n\r\n".encode()
        yield path.read_bytes()
        yield b"\r\n"
    yield f"--{boundary}--\r\n".encode()
