"""The command that makes one video, through a backend that runs here or elsewhere."""

import argparse
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from backend.progress_bar import ProgressBar
from backend.settings import Settings
from contracts.errors import InvalidInput, JobEnded, OptionRejected
from contracts.jobs import JobView
from lipsync_client import LipSync
from lipsync_client.client import succeeded


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Make this parser the command `generate`."""
    parser.add_argument("face", type=Path, metavar="FACE", help="a photo or a video of a face")
    said = parser.add_mutually_exclusive_group(required=True)
    said.add_argument("--text", help="what it shall say")
    said.add_argument("--speech", type=Path, metavar="FILE", help="a recording that it shall say")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="OUT.mp4")
    parser.add_argument("--voice", help="as listed under /voices, such as espeak:en-us")
    parser.add_argument("--language", help="of the text, as a BCP 47 tag such as en")
    parser.add_argument("--engine", help="as listed under /engines (default: auto)")
    parser.add_argument(
        "-O",
        "--option",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="any other option, such as max_height=720; may be given again",
    )
    parser.add_argument(
        "--url",
        default="http://localhost:8000",
        help="the backend (default: %(default)s); it is sent BACKEND_TOKEN where that is set",
    )
    parser.set_defaults(run=_run)


def _run(settings: Settings, options: argparse.Namespace) -> int:
    fields = _fields(options)
    _check_files(options)
    studio = LipSync(options.url, settings.token.get_secret_value() or None)
    bar = ProgressBar()
    job: JobView | None = None
    try:
        with _interruptible_after():
            job = studio.submit(options.face, text=options.text, speech=options.speech, **fields)
        # Who loses this command finds its job under /jobs.
        sys.stderr.write(f"Job {job.id}\n")
        for view in studio.events(job.id):
            bar.show(view.stage, view.progress, view.seconds_left, view.reason)
        bar.close()
        succeeded(view)
        studio.download(view.id, options.output)
    except KeyboardInterrupt:
        bar.close()
        if job is not None:
            _cancel(studio, job.id)
        raise
    finally:
        bar.close()
    length = f"{view.report.seconds:.2f} s by {view.report.engine}" if view.report else "done"
    sys.stdout.write(f"{options.output}: {length}\n")
    return 0


def _fields(options: argparse.Namespace) -> dict[str, Any]:
    fields: dict[str, Any] = {
        name: getattr(options, name) for name in ("voice", "language", "engine")
    }
    for option in options.option:
        name, found, value = option.partition("=")
        if not found:
            raise OptionRejected(
                f"-O {option} has no value", hint="Write it as -O name=value, such as -O fps=30."
            )
        fields[name] = value
    return fields


def _check_files(options: argparse.Namespace) -> None:
    for path in filter(None, (options.face, options.speech)):
        if not path.is_file():
            raise InvalidInput(f"there is no file {path}", hint="Check its name and its folder.")
    if options.output.is_dir() or not options.output.parent.is_dir():
        raise InvalidInput(
            f"nothing can be written to {options.output}",
            hint="Name a file in a folder that exists, such as talk.mp4.",
        )


@contextmanager
def _interruptible_after() -> Iterator[None]:
    """Ctrl-C counts when the block is over: a job that was accepted unnoticed could not be stopped.

    Pressed again, it counts at once.
    """
    pressed = False

    def press(*_: object) -> None:
        nonlocal pressed
        if pressed:
            raise KeyboardInterrupt
        pressed = True
        sys.stderr.write("\nStopping once the files are sent; Ctrl-C again stops now.\n")

    before = signal.signal(signal.SIGINT, press)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if pressed:
        raise KeyboardInterrupt


def _cancel(studio: LipSync, job_id: str) -> None:
    with suppress(JobEnded):
        studio.cancel(job_id)
        sys.stderr.write("Cancelled.\n")
