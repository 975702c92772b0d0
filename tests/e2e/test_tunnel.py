"""The whole product through a bad tunnel: each job is made once, however often it is cut."""

import sys
from pathlib import Path

import pytest

from benchmarks import tunnel
from benchmarks.tunnel import Order
from contracts.jobs import JobState
from tests.media import SAMPLES, babble, large_portrait, wav

pytestmark = pytest.mark.slow

SECONDS = 12.0
FACE_BYTES = 1_500_000


def test_jobs_that_are_cut_again_and_again_are_made_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    face, speech = tmp_path / "large.png", tmp_path / "speech.wav"
    face.write_bytes(large_portrait(FACE_BYTES))
    speech.write_bytes(wav(babble(SECONDS)[None], 16_000))
    orders = [
        Order("large face", face, speech),
        Order("small face", SAMPLES / "portrait.jpg", speech),
    ]
    manners = {"latency_seconds": 0.05, "bytes_per_second": 250_000, "cut_every_seconds": 2.0}
    made, _, _ = tunnel.make(tmp_path / "studio", orders, manners=manners)
    with capsys.disabled():
        sys.stdout.write(f"\ncut: {[each.cuts for each in made]}\n")
    assert tunnel.faults_of(made, min_cuts=2, min_seconds=SECONDS) == []
    assert [each.state for each in made] == [JobState.SUCCEEDED] * 2
    assert made[0].sent_bytes < 1.5 * FACE_BYTES + 1_000_000
