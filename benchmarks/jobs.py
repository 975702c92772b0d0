"""How soon does a person see something happen? Prints JSON; exits with 1 above a limit.

Through a backend and a GPU host as processes, with the built-in engine: from sending a photo and
4 s of speech to the first event, to the first fragment of video and to the finished file; from
asking to cancel until the host is idle; and listing 200 queued jobs.

    python3 run.py bench jobs [--rounds N] [-o FILE | --output FILE]
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Final

import requests

from benchmarks.report import write
from lipsync_client import LipSync
from tests.media import SAMPLES, babble, wav
from tests.processes import Service, wait_until

SPEECH_SECONDS: Final = 4.0
NUM_QUEUED: Final = 200
PAGE: Final = 100
NOBODY: Final = "http://127.0.0.1:9"
HEADER_BYTES: Final = 4096
"""More than an MP4's header takes, less than it takes with the first fragment."""
LIMITS: Final = {
    "first_event_seconds": 1.0,
    "first_fragment_seconds": 2.0,
    "cancel_seconds": 1.0,
    "list_200_seconds": 0.5,
}
"""What a person takes for at once, or for soon."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and say by the exit status whether it is soon enough."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder, stage(Path(folder)) as (client, host_url):
        speech = Path(folder) / "speech.wav"
        speech.write_bytes(wav(babble(SPEECH_SECONDS)[None], 16_000))
        show(client, speech)  # the first render of a host also loads what engines need
        shown = [show(client, speech) for _ in range(options.rounds)]
        cancelled = [cancel(client, host_url, speech) for _ in range(options.rounds)]
    with tempfile.TemporaryDirectory() as folder, stage(Path(folder), host=False) as (client, _):
        listed = list_queued(client)
    medians = {name: round(median(each[name] for each in shown), 3) for name in shown[0]}
    medians["cancel_seconds"] = round(median(cancelled), 3)
    medians["list_200_seconds"] = round(listed, 3)
    faults = [
        f"{name} is {medians[name]}, more than {limit}"
        for name, limit in LIMITS.items()
        if medians[name] > limit
    ]
    findings = {
        "settings": {
            "engine": "facewarp",
            "picture": "samples/portrait.jpg",
            "speech_seconds": SPEECH_SECONDS,
            "rounds": options.rounds,
        },
        "medians": medians,
        "share_of_limit": {name: round(medians[name] / limit, 2) for name, limit in LIMITS.items()},
        "video_seen_times_sooner_than_finished": round(
            medians["finished_seconds"] / medians["first_fragment_seconds"], 1
        ),
        "worst_cancel_seconds": round(max(cancelled), 3),
        "faults": faults,
    }
    write(findings, options.output)
    return 1 if faults else 0


@contextmanager
def stage(folder: Path, *, host: bool = True) -> Iterator[tuple[LipSync, str]]:
    """A client of a running backend, and the address of its GPU host."""
    with ExitStack() as services:
        gpu_url = NOBODY
        if host:
            gpu = Service("gpu_service", folder, {"ENGINE_ORDER": "facewarp"})
            gpu_url = services.enter_context(gpu).url
        backend = Service(
            "backend", folder, {"GPU_URL": gpu_url, "GTTS": False, "MAX_QUEUE": NUM_QUEUED}
        )
        yield LipSync(services.enter_context(backend).url), gpu_url


def show(client: LipSync, speech: Path) -> dict[str, float]:
    """Seconds from sending until there is something to see."""
    elapsed = stopwatch()
    job = client.submit(SAMPLES / "portrait.jpg", speech=speech)
    accepted = elapsed()
    next(client.events(job.id))
    first_event = elapsed()
    received = 0
    for piece in client.stream(job.id):
        received += len(piece)
        if received > HEADER_BYTES:
            break
    first_fragment = elapsed()
    client.wait(job.id)
    return {
        "accepted_seconds": accepted,
        "first_event_seconds": first_event,
        "first_fragment_seconds": first_fragment,
        "finished_seconds": elapsed(),
    }


def cancel(client: LipSync, host_url: str, speech: Path) -> float:
    """Seconds from asking to cancel a running job until its host is idle."""
    job = client.submit(SAMPLES / "portrait.jpg", speech=speech)
    wait_until(lambda: client.job(job.id).media_seconds > 0)
    elapsed = stopwatch()
    client.cancel(job.id)
    wait_until(lambda: requests.get(f"{host_url}/health", timeout=5).json()["renders_running"] == 0)
    return elapsed()


def list_queued(client: LipSync) -> float:
    """Seconds to list the jobs that wait, page by page."""
    photo = SAMPLES / "portrait.jpg"
    for _ in range(NUM_QUEUED):
        client.submit(photo, text="Hello.")
    elapsed = stopwatch()
    listed, cursor = 0, None
    while True:
        page = client.jobs(cursor, limit=PAGE)
        listed, cursor = listed + len(page.jobs), page.next_cursor
        if cursor is None:
            break
    if listed != NUM_QUEUED:
        raise SystemExit(f"{listed} jobs are listed instead of {NUM_QUEUED}")
    return elapsed()


def stopwatch() -> Callable[[], float]:
    """Tells the seconds since it was made."""
    started = time.perf_counter()
    return lambda: time.perf_counter() - started


if __name__ == "__main__":
    sys.exit(main())
