"""The command that makes one video over the base64 socket."""

import argparse
import base64
import binascii
import json
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.sync.client import ClientConnection, connect

from backend.progress_bar import ProgressBar
from backend.routes.base64_ws import num_bytes
from backend.settings import Settings
from contracts.catalogue import from_body
from contracts.errors import InvalidInput, MediaTooLarge, UpstreamError
from contracts.jobs import JobStage
from contracts.limits import MAX_UPLOAD_BYTES
from lipsync_client import BackendUnreachable

TOO_BIG: Final = 1009
SERVICE_RESTART: Final = 1012

_TEXT_FILES = (".txt", ".b64")
# Shorter ones hold no picture and no sound, and are names of files that are not there.
_BASE64 = re.compile(r"\s*(data:[^,]{0,200};base64,)?[A-Za-z0-9+/\s]{60,}={0,2}\s*")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Make this parser the command `ws-client`."""
    kinds = "a file, a .txt or .b64 file that holds base64, base64 itself, or - for standard input"
    parser.add_argument("image", metavar="IMAGE", help=f"the face: {kinds}")
    parser.add_argument("audio", metavar="AUDIO", help="the speech, in the same ways")
    parser.add_argument(
        "output",
        metavar="OUT",
        type=Path,
        nargs="?",
        default=Path("output_video.b64"),
        help="a name that ends in .mp4 gets the video, another its base64 (default: %(default)s)",
    )
    parser.add_argument(
        "--url",
        default="ws://localhost:8000/ws/lipsync",
        help="the socket (default: %(default)s); it is sent BACKEND_TOKEN where that is set",
    )
    parser.set_defaults(run=_run)


def _run(settings: Settings, options: argparse.Namespace) -> int:
    if options.image == options.audio == "-":
        raise InvalidInput("IMAGE and AUDIO can't both be -", hint="Name a file for one of them.")
    if options.output.is_dir() or not options.output.parent.is_dir():
        raise InvalidInput(
            f"nothing can be written to {options.output}",
            hint="Name a file in a folder that exists, such as talk.mp4.",
        )
    image, audio = (_base64_of(given) for given in (options.image, options.audio))
    if num_bytes(image) + num_bytes(audio) > MAX_UPLOAD_BYTES:
        raise MediaTooLarge(f"the files have more than {MAX_UPLOAD_BYTES // 1_000_000} MB together")
    message = json.dumps({"image_base64": image, "audio_base64": audio, "progress": True})
    token = settings.token.get_secret_value()
    answer = _ask(options.url, token, message)
    if "error" in answer:
        error = answer["error"]
        body = error if isinstance(error, dict) else {"detail": error}
        raise from_body(body, body.get("status", 500))
    _write(options.output, answer["video_base64"])
    job = f": job {answer['job_id']}" if "job_id" in answer else ""
    sys.stdout.write(f"{options.output}{job}\n")
    return 0


def _base64_of(given: str) -> str:
    """What an argument stands for, as base64."""
    if given == "-":
        return _as_base64(sys.stdin.buffer.read())
    path = Path(given)
    try:
        is_file = path.is_file()
    except (OSError, ValueError):  # base64 is too long for a name
        is_file = False
    if is_file:
        content = path.read_bytes()
        if path.suffix.lower() not in _TEXT_FILES:
            return base64.b64encode(content).decode()
        return content.decode("ascii", "replace")
    if _BASE64.fullmatch(given):
        return given
    shown = given if len(given) <= 80 else f"{given[:80]}..."
    raise InvalidInput(f"{shown} is neither a file nor base64", hint="Check the file's name.")


def _as_base64(content: bytes) -> str:
    text = content.decode("ascii", "replace")
    return text if _BASE64.fullmatch(text) else base64.b64encode(content).decode()


def _ask(url: str, token: str, message: str) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    bar = ProgressBar()
    try:
        with (
            _transport_errors(url),
            connect(
                url,
                additional_headers=headers,
                compression=None,
                max_size=None,
                # Its answer to a ping waits behind the video, which takes long on a slow line.
                ping_timeout=None,
                proxy=None,
            ) as socket,
        ):
            socket.send(message)
            return _await_answer(socket, bar)
    finally:
        bar.close()


def _await_answer(socket: ClientConnection, bar: ProgressBar) -> dict[str, Any]:
    try:
        while "progress" in (answer := json.loads(socket.recv())):
            told = answer["progress"]
            stage = JobStage(told["stage"])
            bar.show(stage, told["progress"], told["seconds_left"], told["reason"])
    except (KeyError, TypeError, ValueError) as error:
        raise UpstreamError("the answer is none of a base64 socket") from error
    if not isinstance(answer, dict) or not {"error", "video_base64"} & set(answer):
        raise UpstreamError("the answer is none of a base64 socket")
    return answer


@contextmanager
def _transport_errors(url: str) -> Iterator[None]:
    try:
        yield
    except InvalidStatus as refusal:
        raise _refusal(refusal) from refusal
    except ConnectionClosed as error:
        code = error.rcvd.code if error.rcvd else None
        if code == TOO_BIG:
            raise MediaTooLarge("the files are larger than the backend takes") from error
        if code == SERVICE_RESTART:
            raise UpstreamError(
                "the backend was stopped; the job goes on when it runs again",
                hint="Its video will be there under /jobs.",
            ) from error
        raise UpstreamError(f"the socket at {url} was closed before the video came") from error
    except (OSError, WebSocketException, ValueError) as error:
        raise BackendUnreachable(f"no socket answers at {url}") from error


def _refusal(refusal: InvalidStatus) -> Exception:
    status = refusal.response.status_code
    try:
        return from_body(json.loads(refusal.response.body or b""), status)
    except (ValueError, AttributeError):
        return UpstreamError(f"the server answered {status} instead of opening a socket")


def _write(output: Path, video_base64: str) -> None:
    try:
        video = base64.b64decode(video_base64, validate=True)
    except (binascii.Error, TypeError) as error:
        raise UpstreamError("the answer's video is no base64") from error
    partial = output.with_name(f"{output.name}.part")
    try:
        partial.write_bytes(video if output.suffix.lower() == ".mp4" else video_base64.encode())
        partial.replace(output)
    finally:
        partial.unlink(missing_ok=True)
