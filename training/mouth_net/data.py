"""The examples, made once for each plan and kept in a folder."""

import logging
import os
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from training.mouth_net.examples import Example, Spoken, example, plain_example, spoken
from training.mouth_net.voices import APT_LINE, Clip, held_out_clips, training_clips

_SHARD: Final = 500
_HELD_OUT_MINUTES: Final = 10.0
_HELD_OUT_EXAMPLES: Final = 300
_HELD_OUT_SEED: Final = 90_000

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """What to make."""

    minutes: float
    """Of speech, before it is varied."""
    num_examples: int
    """Varied, of six seconds each."""
    seed: int


@dataclass(frozen=True)
class Set:
    """Examples in two arrays."""

    features: NDArray[np.float16]
    """(examples, steps, inputs)."""
    targets: NDArray[np.float16]
    """(examples, steps, outputs)."""


@dataclass(frozen=True)
class Data:
    """What is learnt from, and what is chosen by."""

    training: Set
    held_out: Set
    """Other voices and languages, as varied as those learnt from."""
    plain: Set
    """The same, as the voices gave them."""
    plain_voices: tuple[str, ...]
    """Whose each of these is."""


def prepare(cache: Path, plan: Plan) -> Data:
    """Read the plan's examples from the folder, or make them."""
    name = "-".join(f"{value:g}" for value in asdict(plan).values())
    folder = cache / name
    if not (folder / "done").exists():
        folder.mkdir(parents=True, exist_ok=True)
        _make(folder, plan)
        (folder / "done").touch()
    plain = np.load(folder / "plain.npz", allow_pickle=False)
    return Data(
        _joined(sorted(folder.glob("training*.npz"))),
        _joined(sorted(folder.glob("held_out*.npz"))),
        Set(plain["features"], plain["targets"]),
        tuple(plain["voices"].tolist()),
    )


def _joined(paths: Sequence[Path]) -> Set:
    files = [np.load(path, allow_pickle=False) for path in paths]
    return Set(*(np.concatenate([file[key] for file in files]) for key in ("features", "targets")))


def _make(folder: Path, plan: Plan) -> None:
    start = time.monotonic()
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        held_out = list(held_out_clips(_HELD_OUT_MINUTES, _HELD_OUT_SEED))
        spoken_held_out = list(pool.map(spoken, held_out, chunksize=20))
        clips = list(training_clips(plan.minutes, plan.seed))
        _say_voices(clips)
        spoken_clips = list(pool.map(spoken, clips, chunksize=20))
        logger.info("spoken after %.0f s", time.monotonic() - start)
        _save(folder / "plain.npz", [plain_example(clip) for clip in spoken_held_out], held_out)
        _store(folder / "voices_training.npz", spoken_clips)
        _store(folder / "voices_held_out.npz", spoken_held_out)
        jobs = [
            pool.submit(_shard, folder, "training", number, min(_SHARD, left), plan.seed)
            for number, left in enumerate(range(plan.num_examples, 0, -_SHARD))
        ]
        jobs.append(pool.submit(_shard, folder, "held_out", 0, _HELD_OUT_EXAMPLES, _HELD_OUT_SEED))
        for job in jobs:
            job.result()
    logger.info("examples made after %.0f s", time.monotonic() - start)


def _shard(folder: Path, kind: str, number: int, count: int, seed: int) -> None:
    clips = _stored(folder / f"voices_{kind}.npz")
    random = np.random.default_rng((seed, number))
    _save(folder / f"{kind}{number:03d}.npz", [example(clips, random) for _ in range(count)])


def _store(path: Path, clips: Sequence[Spoken]) -> None:
    np.savez(
        path,
        samples=np.concatenate([clip.samples for clip in clips]),
        shapes=np.concatenate([clip.shapes for clip in clips]),
        lengths=np.array([(len(clip.samples), len(clip.shapes)) for clip in clips]),
    )


def _stored(path: Path) -> list[Spoken]:
    with np.load(path, allow_pickle=False) as file:
        ends = file["lengths"].cumsum(axis=0)[:-1]
        samples = np.split(file["samples"], ends[:, 0])
        shapes = np.split(file["shapes"], ends[:, 1])
    return [Spoken(*pair) for pair in zip(samples, shapes, strict=True)]


def _save(path: Path, examples: Sequence[Example], clips: Sequence[Clip] = ()) -> None:
    np.savez(
        path,
        features=np.stack([made.features for made in examples]),
        targets=np.stack([made.targets for made in examples]),
        voices=np.array([clip.voice for clip in clips]),
    )


def _say_voices(clips: Sequence[Clip]) -> None:
    seconds: dict[str, float] = {}
    for clip in clips:
        seconds[clip.voice] = seconds.get(clip.voice, 0.0) + len(clip.samples) / 16_000
    for voice, length in seconds.items():
        logger.info("%5.1f min by %s", length / 60, voice)
    for program in ("flite", "festival"):
        if not any(voice.startswith(program) for voice in seconds):
            logger.warning("no voice of %s: %s", program, APT_LINE)
