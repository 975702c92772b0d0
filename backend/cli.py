"""The backend's command line."""

import argparse
import contextlib
import json
import logging
import signal
import socket
import sys
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool

from backend import generate_cli, ws_cli
from backend.app import create_app, default_voices
from backend.doctor import DOCTOR
from backend.jobs.steps import write_wav
from backend.settings import Settings
from backend.speech.fallback import Speaker
from contracts.errors import LipSyncError
from contracts.settings_faults import settings_faults

SHUTDOWN_SECONDS = 5
START_FAILED = 3
PONG_SECONDS = 600
"""How long a socket's peer may be busy with one message before it is taken for dead."""


class _Server(uvicorn.Server):
    """Ends the work before it waits for callers, so that who waits for a video gets an answer."""

    def __init__(self, app: FastAPI, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._app = app

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        services = self._app.state.services
        await run_in_threadpool(services.worker.stop)
        services.changes.close()
        await super().shutdown(sockets)


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    options = _parser().parse_args(arguments)
    if "examine" in options:  # also where the settings can't be
        return int(options.examine(options))
    try:
        settings = Settings()
    except ValueError as error:  # also where a secret's file can't be read
        print(settings_faults(error, "BACKEND_"), file=sys.stderr)  # noqa: T201
        return 2
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        status: int = options.run(settings, options)
    except LipSyncError as error:
        print(f"{error.detail}\n{error.hint}", file=sys.stderr)  # noqa: T201
        return 1
    except OSError as error:
        print(f"{error.filename or 'a file'}: {error.strerror}", file=sys.stderr)  # noqa: T201
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m backend", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    serve = commands.add_parser(
        "serve", help="answer HTTP; settings are BACKEND_* in the environment"
    )
    serve.set_defaults(run=_serve)
    speak = commands.add_parser("speak", help="speak a text into a WAV file")
    speak.add_argument("text")
    speak.add_argument("-o", "--output", type=Path, required=True, metavar="OUT.wav")
    speak.add_argument("--voice", help="as listed under /voices, such as espeak:en-us")
    speak.add_argument("--language", help="BCP 47 tag, such as en")
    speak.add_argument("--marks", type=Path, metavar="FILE.json", help="write phonemes with times")
    speak.set_defaults(run=_speak)
    generate_cli.add_arguments(commands.add_parser("generate", help="make a video"))
    ws_cli.add_arguments(
        commands.add_parser("ws-client", help="make a video over the base64 socket")
    )
    DOCTOR.add_arguments(commands.add_parser("doctor", help="look for what is missing or wrong"))
    return parser


def _serve(settings: Settings, _: argparse.Namespace) -> int:
    # uvicorn sends itself the signal again once it has shut down; that is an end in good order.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    # What it calls an error is how `/jobs/{id}/stream` tells that nothing more comes.
    logging.getLogger("uvicorn.error").addFilter(
        lambda record: "without completing response" not in record.getMessage()
    )
    app = create_app(settings)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        log_config=None,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
        # Base64 makes 4 of 3 bytes, and some break it into lines.
        ws_max_size=settings.max_upload_bytes * 3 // 2,
        # Pongs wait behind the message that is being sent, which takes long on a slow line.
        ws_ping_timeout=PONG_SECONDS,
        # Base64 of compressed media hardly shrinks, and everybody would wait for the attempt.
        ws_per_message_deflate=False,
    )
    server = _Server(app, config)
    with contextlib.suppress(KeyboardInterrupt):
        server.run()
    return 0 if server.started else START_FAILED


def _speak(settings: Settings, options: argparse.Namespace) -> int:
    speaker = Speaker(default_voices(settings))
    speech = speaker.speak(options.text, speaker.choose(options.voice, options.language))
    write_wav(speech.spoken, options.output)
    if options.marks:
        marks = [mark.model_dump() for mark in speech.spoken.marks or ()]
        options.marks.write_text(json.dumps(marks, ensure_ascii=False, indent=1), encoding="utf-8")
    print(f"{speech.voice.id} spoke {speech.spoken.seconds:.2f} s")  # noqa: T201
    return 0
