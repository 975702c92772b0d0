"""The GPU host as a process of its own."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from contracts.records import RECORDS_MEDIA_TYPE, ErrorRecord, MediaRecord, decode_records
from tests.media import SAMPLES, tone, wav

REPOSITORY = Path(__file__).parents[2]
TIMEOUT = 60


class Host:
    """A running `python -m gpu_service serve`."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "gpu_service", "serve"],
            cwd=REPOSITORY,
            env=os.environ | {"GPU_PORT": "0", "GPU_HOST": "127.0.0.1", "GPU_TOKEN": ""},
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stderr is not None
        self.log = ""
        for line in self.process.stderr:
            self.log += line
            if found := re.search(r"running on (http://\S+)", line):
                self.url = found[1]
                return
        raise AssertionError(f"it did not start: {self.log}")


@pytest.fixture
def host() -> Iterator[Host]:
    running = Host()
    yield running
    running.process.kill()
    running.process.communicate()


def test_a_host_that_is_stopped_tells_its_callers_and_ends_in_order(host: Host) -> None:
    answer = requests.post(
        f"{host.url}/render",
        files={
            "face": (SAMPLES / "portrait.jpg").read_bytes(),
            "speech": wav(tone(300, 8_000), 8_000),
        },
        headers={"Accept": RECORDS_MEDIA_TYPE},
        stream=True,
        timeout=TIMEOUT,
    )
    records = []
    for framed in decode_records(answer.iter_content(chunk_size=None)):
        records.append(framed.record)
        if isinstance(framed.record, MediaRecord) and framed.record.seq == 1:
            host.process.send_signal(signal.SIGINT)
    assert isinstance(records[-1], ErrorRecord)
    assert (records[-1].error.code, records[-1].error.retryable) == ("BUSY", True)
    _, rest = host.process.communicate(timeout=TIMEOUT)
    assert host.process.returncode == 0
    assert "Traceback" not in rest
