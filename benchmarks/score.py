"""How long does `score` take, how much memory, and how often is its verdict wrong? Prints JSON.

The films are made by facewarp from the portrait in samples/ and made-up speech: each is scored with
its own sound, and with the sound of every other, which its mouth does not follow. Videos that are
given as arguments take their place, such as recordings of people.

    python3 run.py bench score [VIDEO ...] [-o benchmarks/results/score.json]
"""

import argparse
import contextlib
import io
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from benchmarks.report import alone, peak_mb, write
from gpu_service.cli import main as gpu_service
from gpu_service.data import SPEECH_RATE, Frame
from gpu_service.engines.wav2lip.syncnet import load_towers
from gpu_service.score import CHANCE_FOLLOWS, CHANCE_PERHAPS, IN_TIME_MS, score_video
from tests.media import babble, portrait, silence, wav
from tests.parity_weights import seeded_checkpoint

FILMS: Final = 4
FILM_SECONDS: Final = 6.0
LENGTHS: Final = (10.0, 40.0)
"""Of the films whose cost is measured, in seconds."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("videos", type=Path, nargs="*", metavar="VIDEO")
    parser.add_argument("-o", "--output", type=Path, help="also write the JSON there")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        videos = options.videos or [
            film(folder, portrait(), FILM_SECONDS, seed) for seed in range(FILMS)
        ]
        given = "given" if options.videos else f"{FILMS} films of {FILM_SECONDS:g} s"
        found = {"cost_720p": costs(folder), "videos": given, "verdicts": verdicts(videos)}
    write(found, options.output)
    return 0


def film(folder: Path, face: Frame, seconds: float, seed: int) -> Path:
    """A video of the face that says something made up, with a pause that is elsewhere in each."""
    first = (seconds - 0.8) * (1 + 2 * seed % 9) / 10
    after = seconds - 0.8 - first
    speech = np.concatenate((babble(first, seed), silence(0.8), babble(after, seed + 1000)))
    name = folder / f"{seed}_{seconds:g}.wav"
    name.write_bytes(wav(speech[np.newaxis], SPEECH_RATE))
    cv2.imwrite(str(name.with_suffix(".png")), face)
    video = name.with_suffix(".mp4")
    command = ["render", str(name.with_suffix(".png")), str(name), "-o", str(video)]
    with contextlib.redirect_stdout(io.StringIO()):
        if gpu_service([*command, "--engine", "facewarp"]):
            raise SystemExit(1)
    return video


def costs(folder: Path) -> list[dict[str, object]]:
    """What films of 1280 x 720 pixels cost, each in a process of its own."""
    wide = np.full((720, 1280, 3), 90, np.uint8)
    wide[:, 280:1000] = cv2.resize(portrait(), (720, 720), interpolation=cv2.INTER_CUBIC)
    weights = seeded_checkpoint(folder / "lipsync_expert.pth", net="syncnet")
    found: list[dict[str, object]] = []
    for seconds in LENGTHS:
        video = film(folder, wide, seconds, seed=7)
        for checkpoint in (None, weights):
            spent = alone(cost, video, checkpoint)
            found.append({"seconds": seconds, "syncnet": checkpoint is not None, **spent})
    return found


def cost(video: Path, checkpoint: Path | None) -> dict[str, float]:
    """Wall and processor seconds for each second of a video, and the most memory taken."""
    towers = load_towers(checkpoint, "cpu") if checkpoint else None
    wall, processor = time.perf_counter(), time.process_time()
    score = score_video(video.read_bytes(), towers=towers)
    return {
        "wall_per_second": round((time.perf_counter() - wall) / score.seconds, 2),
        "processor_per_second": round((time.process_time() - processor) / score.seconds, 2),
        "peak_mb": peak_mb(),
    }


def verdicts(videos: Sequence[Path]) -> dict[str, dict[str, object]]:
    """How often a mouth is said to follow its own sound, and that of another video."""
    scores: dict[str, list[tuple[float, float, float]]] = {"own": [], "another": []}
    for video in videos:
        for sound in videos:
            own = video == sound
            score = score_video(video.read_bytes(), None if own else sound.read_bytes())
            if score.r is not None and score.lag_ms is not None and score.chance is not None:
                scores["own" if own else "another"].append((score.r, score.lag_ms, score.chance))
    return {
        whose: {
            "pairs": len(found),
            "follows": sum(chance <= CHANCE_FOLLOWS for _, _, chance in found),
            "perhaps": sum(CHANCE_FOLLOWS < chance <= CHANCE_PERHAPS for _, _, chance in found),
            "in_time": sum(
                chance <= CHANCE_PERHAPS and abs(lag) <= IN_TIME_MS for _, lag, chance in found
            ),
            "r": [round(r, 2) for r, _, _ in found],
        }
        for whose, found in scores.items()
    }


if __name__ == "__main__":
    raise SystemExit(main())
