"""What does a bad tunnel to the GPU host cost? Prints JSON; exits with 1 if a job is lost to it.

The whole product makes ten videos of at least 30 s, one of them of a face of 8 MB: once directly,
once through a tunnel on loopback that takes 200 ms in each direction, passes 2 Mbit/s in each, and
breaks every 10 s. The GPU host runs in an environment of its own, made from its lock alone, from a
copy of its folder and `contracts/`. It counts how often each job was cut and rendered, its requests
and its bytes.

    python3 run.py bench tunnel [--jobs N] [--this-python] [-o FILE | --output FILE]
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import time
import venv
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

import numpy as np

from backend.staging.store import JobMedia, MediaStore
from benchmarks.report import ROOT, write
from contracts.jobs import JobState, JobView
from lipsync_client import LipSync
from tests.fakes.tunnel import Tunnel, tunnel_to
from tests.media import SAMPLES, babble, large_portrait, wav
from tests.processes import Service

MEDIA_SECONDS: Final = 32.0
LARGE_FACE_BYTES: Final = 8_000_000
MAX_HEIGHT: Final = 480
AT_ONCE: Final = 5
"""Renders that the host makes at the same time; they share the tunnel."""
MIN_CUTS: Final = 2
LATENCY_SECONDS: Final = 0.2
BYTES_PER_SECOND: Final = 2_000_000 / 8
CUT_EVERY_SECONDS: Final = 10.0
WAIT_SECONDS: Final = 900.0
TEXT: Final = (
    "Every morning the baker opened the door before the street was awake. She lit the oven, weighed"
    " the flour, and listened to the rain on the roof. By six the first loaves were out, and the"
    " smell of them went round the corner to the station, where people waited for the early train."
    " Some of them came in, shook the water from their coats, and said that it could not be so bad"
    " a day. She wrapped what they wanted in paper, and wished them a dry way to work."
    " When the last one had gone she put the kettle on, sat down by the window, and read the paper."
)
_TOKEN: Final = "canary-4c1d"  # noqa: S105 - made up
_ENDED: Final = re.compile(r"render (\w+) of (\w+): ")


class Order(NamedTuple):
    """A video to make."""

    name: str
    face: Path
    speech: Path | None
    """None speaks the text."""


@dataclass(frozen=True)
class Made:
    """What became of one."""

    name: str
    state: str
    attempts: int
    speech_seconds: float
    seconds: float
    """From its start to its end, its turn at the tunnel included."""
    renders: int
    """How many the host has begun of it."""
    video_bytes: int
    video_sha256: str
    """The first digits."""
    cuts: int = 0
    requests: int = 0
    sent_bytes: int = 0
    received_bytes: int = 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and say by the exit status whether every job was made once."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs", type=int, default=10)
    parser.add_argument(
        "--this-python", action="store_true", help="make no environment for the GPU host"
    )
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="lipsync-tunnel-") as name:
        folder = Path(name)
        python, source = (None, ROOT) if options.this_python else environment(folder / "host")
        orders = plan(folder, options.jobs)
        direct, direct_seconds, _ = make(folder / "direct", orders, python, source)
        manners = {
            "latency_seconds": LATENCY_SECONDS,
            "bytes_per_second": BYTES_PER_SECOND,
            "cut_every_seconds": CUT_EVERY_SECONDS,
        }
        through, seconds, others = make(folder / "tunnel", orders, python, source, manners)
    faults = [*faults_of(direct), *faults_of(through, MIN_CUTS)]
    faults += [
        f"job {number} ({each.name}): another video than directly"
        for number, (each, other) in enumerate(zip(through, direct, strict=True))
        if each.video_sha256 != other.video_sha256
    ]
    findings = {
        "settings": {
            "engine": "facewarp",
            "max_height": MAX_HEIGHT,
            "at_once": AT_ONCE,
            "host_environment": "this" if options.this_python else "requirements/gpu_service.txt",
            **manners,
        },
        "succeeded": sum(each.state == JobState.SUCCEEDED for each in through),
        "of": len(through),
        "seconds": {"direct": round(direct_seconds, 1), "tunnel": round(seconds, 1)},
        "times_slower": round(seconds / direct_seconds, 1),
        "median_job_seconds": {"direct": _median(direct), "tunnel": _median(through)},
        "fewest_cuts_of_a_job": min(each.cuts for each in through),
        "median_requests_of_a_job": median(each.requests for each in through),
        "requests_about_no_job": others,
        "direct": [asdict(each) for each in direct],
        "tunnel": [asdict(each) for each in through],
        "faults": faults,
    }
    write(findings, options.output)
    return 1 if faults else 0


def environment(folder: Path) -> tuple[Path, Path]:
    """A Python with the GPU host's lock and nothing else, and the folder of what it ships with."""
    for package in ("gpu_service", "contracts"):
        skipped = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, folder / "source" / package, ignore=skipped)
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv" / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    lock = ROOT / "requirements" / "gpu_service.txt"
    options = ["--quiet", "--no-deps", "--only-binary", ":all:", "--require-hashes"]
    # Their prints would stand before the JSON.
    subprocess.run(  # noqa: S603
        [python, "-m", "pip", "install", *options, "-r", lock], check=True, stdout=sys.stderr
    )
    return python, folder / "source"


def plan(folder: Path, num_jobs: int, media_seconds: float = MEDIA_SECONDS) -> list[Order]:
    """Videos of different needs; the second has the large face."""
    portrait, large = SAMPLES / "portrait.jpg", folder / "large.png"
    large.write_bytes(large_portrait(LARGE_FACE_BYTES))
    orders = []
    for number in range(num_jobs):
        speech: Path | None = folder / f"speech-{number}.wav"
        match number:
            case 1:
                name, face = "8 MB face", large
            case 2 | 6:
                name, face, speech = "text", portrait, None
            case 3:
                name, face = "16 kHz stereo speech", portrait
            case _:
                name, face = "speech", portrait
        if speech:
            sound = babble(media_seconds + number / 4, seed=number)
            channels = 2 if number == 3 else 1
            speech.write_bytes(wav(np.tile(sound, (channels, 1)), 16_000))
        orders.append(Order(name, face, speech))
    return orders


def make(
    folder: Path,
    orders: Sequence[Order],
    python: Path | None = None,
    source: Path = ROOT,
    manners: Mapping[str, float] | None = None,
) -> tuple[list[Made], float, int]:
    """Make them all at once.

    Args:
        folder: Takes what the services keep.
        orders: What to make.
        python: What runs the GPU host.
        source: Where its folder is.
        manners: Those of the tunnel to it; None for no tunnel.

    Returns:
        What became of each, how many seconds all took, and how many requests were about none.
    """
    folder.mkdir()
    with studio(folder, python, source, manners) as (client, host, tunnel):
        began = time.monotonic()
        job_ids = [submit(client, order) for order in orders]
        jobs = [client.wait(job_id, WAIT_SECONDS) for job_id in job_ids]
        seconds = time.monotonic() - began
        renders = Counter(key for _, key in set(_ENDED.findall(host.log())))
        passed = Passed(tunnel)
        made = [
            report(order.name, job, renders[job.id], passed, MediaStore(folder / "jobs").of(job.id))
            for order, job in zip(orders, jobs, strict=True)
        ]
    return made, seconds, passed.others()


@contextmanager
def studio(
    folder: Path, python: Path | None, source: Path, manners: Mapping[str, float] | None
) -> Iterator[tuple[LipSync, Service, Tunnel | None]]:
    """A client of a running backend, its GPU host, and the tunnel between the two."""
    with ExitStack() as running:
        settings = {
            "TOKEN": _TOKEN,
            "ENGINE_ORDER": "facewarp",
            "MAX_CONCURRENT": AT_ONCE,
            "MAX_QUEUE": AT_ONCE,
        }
        host = Service("gpu_service", folder, settings, python=python, source=source)
        running.enter_context(host)
        tunnel = None
        if manners is not None:
            tunnel = running.enter_context(tunnel_to(host.url, **manners))
        backend = Service(
            "backend",
            folder,
            {
                "GPU_URL": tunnel.url if tunnel else host.url,
                "GPU_TOKEN": _TOKEN,
                "GPU_FORWARDED": tunnel is not None,
                "GTTS": False,
            },
        )
        yield LipSync(running.enter_context(backend).url), host, tunnel


def submit(client: LipSync, order: Order) -> str:
    """Send it to the backend, and give its id."""
    if order.speech is None:
        return client.submit(order.face, text=TEXT, max_height=MAX_HEIGHT).id
    return client.submit(order.face, speech=order.speech, max_height=MAX_HEIGHT).id


class Passed:
    """What passed through a tunnel, each subject told once; nothing where there is none."""

    def __init__(self, tunnel: Tunnel | None) -> None:
        self._traffic = dict(tunnel.traffic) if tunnel else {}
        self._cuts = tunnel.cuts.copy() if tunnel else Counter[str]()

    def about(self, subjects: Sequence[str]) -> dict[str, int]:
        """Of these subjects, which belong to one job."""
        passed = [self._traffic.pop(each) for each in subjects if each in self._traffic]
        return {
            "cuts": sum(self._cuts.pop(each, 0) for each in subjects),
            "requests": sum(each.num_requests for each in passed),
            "sent_bytes": sum(each.sent for each in passed),
            "received_bytes": sum(each.received for each in passed),
        }

    def others(self) -> int:
        """How many requests were about what nobody has told of yet."""
        return sum(each.num_requests for each in self._traffic.values())


def report(name: str, job: JobView, renders: int, passed: Passed, media: JobMedia) -> Made:
    """What became of a job, and what passed through the tunnel for it."""
    files = [path for path in (media.face, media.speech_packed, media.speech) if path.exists()]
    hashes = [sha256(path.read_bytes()).hexdigest() for path in files]
    assert job.started_at  # noqa: S101 - it has ended
    assert job.finished_at  # noqa: S101
    return Made(
        name=name,
        state=job.state,
        attempts=len(job.attempts),
        speech_seconds=round(job.speech_seconds or 0.0, 1),
        seconds=round((job.finished_at - job.started_at).total_seconds(), 1),
        renders=renders,
        video_bytes=media.video.stat().st_size,
        video_sha256=sha256(media.video.read_bytes()).hexdigest()[:16],
        # A face that several jobs share counts for the first.
        **passed.about([job.id, *hashes]),
    )


def faults_of(made: Sequence[Made], min_cuts: int = 0, min_seconds: float = 30.0) -> list[str]:
    """What is not as it should be."""
    faults = []
    for number, each in enumerate(made):
        told = f"job {number} ({each.name})"
        if each.state != JobState.SUCCEEDED or each.attempts:
            faults.append(f"{told}: {each.state} after {each.attempts} failed attempts")
        if each.renders != 1:
            faults.append(f"{told}: rendered {each.renders} times")
        if each.cuts < min_cuts:
            faults.append(f"{told}: cut {each.cuts} times, less than {min_cuts}")
        if each.speech_seconds < min_seconds:
            faults.append(f"{told}: only {each.speech_seconds} s of speech")
    return faults


def _median(made: Sequence[Made]) -> float:
    return round(median(each.seconds for each in made), 1)


if __name__ == "__main__":
    sys.exit(main())
