"""Nothing accepted is lost: processes are killed and connections cut while videos come."""

import io
import re
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import av
import pytest

from backend.staging.fragments import FragmentsReader
from backend.staging.store import MediaStore
from contracts.jobs import JobState
from lipsync_client import LipSync
from tests.fakes.proxy import Proxy
from tests.media import SAMPLES, babble, wav
from tests.processes import LONGEST_WAIT_SECONDS, Service, wait_until
from tools.services import free_ports

pytestmark = pytest.mark.slow

NUM_JOBS = 12
SECONDS, FPS = 4.0, 25
NUM_FRAMES = 100
BYTES_PER_SECOND = 40_000
"""So slowly do answers pass the proxy, for the blows to land while fragments come."""
BLOWS = ("cut", "kill backend", "stall", "kill host") * 2
TOKEN = "canary-7d1e"


class Studio:
    """A backend and its GPU host, joined by a slow connection."""

    def __init__(self, folder: Path) -> None:
        ports = free_ports()
        self.proxy = Proxy(("127.0.0.1", ports["gpu"]), BYTES_PER_SECOND)
        self.host = Service(
            "gpu_service",
            folder,
            {"TOKEN": TOKEN, "ENGINE_ORDER": "facewarp"},
            ports["gpu"],
        )
        self.backend = Service(
            "backend",
            folder,
            {
                "TOKEN": TOKEN,
                "GPU_URL": self.proxy.url,
                "GPU_TOKEN": TOKEN,
                "GTTS": False,
            },
            ports["backend"],
        )
        self.client = LipSync(self.backend.url, token=TOKEN)
        self._media = MediaStore(folder / "jobs")

    def strike(self, blow: str) -> None:
        """Do it while a job's fragments come."""
        match blow:
            case "cut":
                self.proxy.cut()
            case "stall":
                self.proxy.stall()
            case "kill backend":
                self.backend.kill()
            case "kill host":
                self.host.kill()
                self.proxy.cut()  # what it had sent already is lost with its machine

    def mend(self, blow: str) -> None:
        """Bring back what was struck."""
        match blow:
            case "stall":
                # What was held up is lost: the connection is given up for dead, and made anew.
                wait_until(lambda: self.proxy.num_connections > self._connections_before)
                self.proxy.cut()
                self.proxy.go_on()
            case "kill backend":
                self.backend.start()
            case "kill host":
                self.host.start()

    def blow(self, blow: str, job_ids: list[str]) -> str:
        """Strike between the first and the last fragment of one of the jobs, and mend.

        Returns:
            Which job it was; empty when its last fragment came first.
        """
        wait_until(lambda: self._coming(job_ids))
        struck = self._coming(job_ids)
        self._connections_before = self.proxy.num_connections
        self.strike(blow)
        landed = not FragmentsReader(self._media.of(struck)).complete
        self.mend(blow)
        return struck if landed else ""

    def _coming(self, job_ids: list[str]) -> str:
        """A job of which the first fragment has come, and the last has not."""
        for job_id in job_ids:
            reader = FragmentsReader(self._media.of(job_id))
            if reader.media_seconds > 0 and not reader.complete:
                return job_id
        return ""


@contextmanager
def studio(folder: Path) -> Iterator[Studio]:
    made = Studio(folder)
    with ExitStack() as ends:
        ends.callback(made.proxy.close)
        for service in (made.host, made.backend):
            ends.enter_context(service)
        yield made


def test_whatever_is_killed_or_cut_every_job_is_finished_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    speech = tmp_path / "speech.wav"
    speech.write_bytes(wav(babble(SECONDS)[None], 16_000))
    with studio(tmp_path) as stage:
        client = stage.client
        job_ids = [
            client.submit(SAMPLES / "portrait.jpg", speech=speech, max_height=320).id
            for _ in range(NUM_JOBS)
        ]
        landed: Counter[str] = Counter()
        spared = list(job_ids)
        missed: Counter[str] = Counter()
        for blow in BLOWS:
            while not (struck := stage.blow(blow, spared)):
                missed[blow] += 1
            spared.remove(struck)
            landed[blow] += 1
        with capsys.disabled():
            sys.stdout.write(f"\nbetween a job's first and last fragment: {dict(landed)}\n")
        jobs = [client.wait(job_id, LONGEST_WAIT_SECONDS) for job_id in job_ids]
        assert [job.state for job in jobs] == [JobState.SUCCEEDED] * NUM_JOBS
        assert len(client.jobs().jobs) == NUM_JOBS
        for job in jobs:
            check_video(client.download(job.id, tmp_path / "video.mp4"))
            check_video_bytes(b"".join(client.stream(job.id)))
        num_attempts = sum(len(job.attempts) for job in jobs)
        # One that missed may have met the next job, which had just begun.
        assert 0 <= num_attempts - landed["kill host"] <= missed["kill host"]
        ends = re.findall(r"job (\w+): succeeded", stage.backend.log())
    assert Counter(ends) == dict.fromkeys(job_ids, 1)


def check_video(path: Path) -> None:
    check_video_bytes(path.read_bytes())


def check_video_bytes(data: bytes) -> None:
    """Every frame from the first to the last can be decoded, and its sound is as long."""
    with av.open(io.BytesIO(data), options={"format_whitelist": "mov,mp4"}) as video:
        moments = [frame.time for frame in video.decode(video=0)]
    assert len(moments) == NUM_FRAMES
    assert moments == pytest.approx([i / FPS for i in range(NUM_FRAMES)], abs=1e-3)
    with av.open(io.BytesIO(data), options={"format_whitelist": "mov,mp4"}) as video:
        samples = sum(frame.samples for frame in video.decode(audio=0))
    assert samples / 48_000 == pytest.approx(SECONDS, abs=0.05)
