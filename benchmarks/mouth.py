"""How well does the mouth that is heard agree with mouths of people who talk? Prints JSON.

The folder holds speech of people who talk, `wav/NAME.wav`, and their mouths as measured,
`truth/NAME.csv`, with the columns `open`, `width` and `valid` at 25 rows a second. A line of its
`core.txt` names a clip, by how many milliseconds its sound is late, and its class: `core`, or
`unsynced` for a control whose sound is another's. The network, the rules that `score` listens with,
and loudness alone are each scored once, with nothing fitted to a clip.

    python3 run.py bench mouth FOLDER [-o benchmarks/results/mouth.json]

Figures are `r`, the correlation of the openings at the best lag within 80 ms; `r_motion`, the same
with a moving mean of 1.24 s taken off both; `closure_f1`, of the moments at which the mouth shuts,
within 80 ms; and `r_width`. Where training/mouth_net has left its cache, `held_out` is how well the
network's outputs agree with the phonemes of voices and languages that it was not taught.
"""

import argparse
import time
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.report import ROOT, write
from gpu_service.audio.sound_rules import heard_mouth
from gpu_service.audio.speech_mel import NUM_BANDS
from gpu_service.data import SPEECH_RATE, Samples, SpeechChunk
from gpu_service.engines.facewarp.hearing.mouth_net import (
    BLOCK_STEPS,
    STEP_ROWS,
    MouthNet,
    shipped_weights,
)
from gpu_service.engines.facewarp.mouth import MouthShape, mouth_shapes
from gpu_service.media.decode import decode_sound, speech_chunks
from tests.media import babble

FPS: Final = Fraction(25)
MOST_LAG: Final = 2
"""Frames."""
MOTION_FRAMES: Final = 31
SHUT, FREE = 0.2, 0.25
"""A closure lies below the one share of the track's range, and rises by the other on both sides."""
BESIDE_FRAMES: Final = 6
NEAR_FRAMES: Final = 2
SPEED_SECONDS: Final = 30.0

Track = NDArray[np.float64]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, nargs="?", help="without it, speed alone")
    parser.add_argument("--cache", type=Path, default=ROOT / ".cache/mouth_net")
    parser.add_argument("-o", "--output", type=Path, help="also write the JSON there")
    options = parser.parse_args(arguments)
    found: dict[str, object] = {"times_real_time_on_one_core": speed()}
    for plain in sorted(options.cache.glob("*/plain.npz")):
        found["held_out"] = held_out(plain)
    if options.folder:
        found["clips"] = clips = scores(options.folder)
        found["mean"] = means(clips)
    write(found, options.output)
    return 0


def scores(folder: Path) -> dict[str, dict[str, object]]:
    """Each clip's class, how many closures were measured, and the figures of each prediction."""
    found: dict[str, dict[str, object]] = {}
    for line in (folder / "core.txt").read_text(encoding="utf-8").splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        name, late_ms, kind = line.split()[:3]
        sound = decode_sound((folder / "wav" / f"{name}.wav").read_bytes())
        samples = np.concatenate([chunk.samples for chunk in speech_chunks(sound)])
        late = round(int(late_ms) / 1000 * FPS)
        truth = np.genfromtxt(folder / "truth" / f"{name}.csv", delimiter=",", names=True)
        figures = {
            prediction: scored({key: track[late:] for key, track in tracks.items()}, truth)
            for prediction, tracks in predictions(samples).items()
        }
        better = {
            key: round(figures["network"][key] - figures["rules"][key], 3)
            for key in figures["rules"]
        }
        num_closures = len(closures(smoothed(truth["open"])))
        # Clips may be called after whom they show.
        number = 1 + sum(clip["class"] == kind for clip in found.values())
        found[f"{kind} {number}"] = {
            "class": kind,
            "closures": num_closures,
            **figures,
            "network_less_rules": better,
        }
    return found


def predictions(samples: Samples) -> dict[str, dict[str, Track]]:
    """The tracks that are compared: openings, and width where there is one."""
    shapes = np.array(list(mouth_shapes([SpeechChunk(samples)], FPS)))
    return {
        "network": {"open": shapes[:, 0], "width": shapes[:, 1]},
        "rules": {"open": heard_mouth(samples, FPS).open},
        "loudness": {"open": loudness(samples)},
    }


def loudness(samples: Samples) -> Track:
    """Level of each frame's sound, in the 30 dB below the clip's loud moments."""
    size = int(SPEECH_RATE / FPS)
    frames = np.pad(samples, (0, -len(samples) % size)).reshape(-1, size).astype(np.float64)
    decibels = 10 * np.log10(np.mean(frames**2, axis=1) + 1e-10)
    return np.asarray(np.clip((decibels - np.percentile(decibels, 95)) / 30 + 1, 0, 1))


def scored(tracks: dict[str, Track], truth: NDArray[np.void]) -> dict[str, float]:
    """All figures of one prediction for one clip."""
    count = min(len(tracks["open"]), len(truth))
    opening, valid = tracks["open"][:count], truth["valid"][:count] > 0
    seen = smoothed(truth["open"][:count])
    r, lag = best(opening, seen, valid)
    heard, mouth = paired(opening, seen, valid, lag)
    found = {
        "r": r,
        "r_motion": best(motion(opening), motion(seen), valid)[0],
        "closure_f1": agreement(closures(heard), closures(mouth)),
    }
    if "width" in tracks:
        found["r_width"] = best(tracks["width"][:count], truth["width"][:count], valid)[0]
    return {key: round(value, 3) for key, value in found.items()}


def best(heard: Track, seen: Track, valid: NDArray[np.bool_]) -> tuple[float, int]:
    """The largest correlation, and the frames by which the prediction is late there."""
    lags = range(-MOST_LAG, MOST_LAG + 1)
    return max((correlation(*paired(heard, seen, valid, lag)), lag) for lag in lags)


def paired(heard: Track, seen: Track, valid: NDArray[np.bool_], lag: int) -> tuple[Track, Track]:
    """The prediction, so many frames later, beside what was seen."""
    count = len(heard)
    here, there = slice(max(lag, 0), count + min(lag, 0)), slice(max(-lag, 0), count - max(lag, 0))
    kept = valid[there]
    return heard[here][kept], seen[there][kept]


def correlation(first: Track, second: Track) -> float:
    """Pearson's r; 0 where a track does not move."""
    if first.std() < 1e-9 or second.std() < 1e-9:
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])


def smoothed(track: Track) -> Track:
    """The noise of landmarks taken off."""
    return np.convolve(np.pad(track, 1, mode="edge"), (0.25, 0.5, 0.25), "valid")


def motion(track: Track) -> Track:
    """What is left without posture, smiles and slow trends."""
    padded = np.pad(track, MOTION_FRAMES // 2, mode="reflect")
    return track - np.convolve(padded, np.full(MOTION_FRAMES, 1 / MOTION_FRAMES), "valid")


def closures(track: Track) -> list[float]:
    """The middles of the dips between two openings, in frames."""
    low, high = np.percentile(track, (5, 95))
    share = (track - low) / max(high - low, 1e-9)
    edges = np.flatnonzero(np.diff(np.concatenate(([False], share < SHUT, [False]))))
    found = []
    for start, end in edges.reshape(-1, 2):
        before, after = share[max(start - BESIDE_FRAMES, 0) : start], share[end:][:BESIDE_FRAMES]
        bottom = share[start:end].min()
        if min(before.max(initial=0.0), after.max(initial=0.0)) - bottom >= FREE:
            found.append((start + end - 1) / 2)
    return found


def agreement(heard: Sequence[float], seen: Sequence[float]) -> float:
    """F1 of the moments, each of which may be matched once, in order."""
    free, hits = list(heard), 0
    for moment in seen:
        distance, nearest = min((abs(other - moment), other) for other in [*free, np.inf])
        if distance <= NEAR_FRAMES:
            free.remove(nearest)
            hits += 1
    return 2 * hits / max(len(heard) + len(seen), 1)


def means(clips: dict[str, dict[str, object]]) -> dict[str, dict[str, dict[str, float]]]:
    """Of the clips of each class."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for kind in sorted({str(clip["class"]) for clip in clips.values()}):
        of_class = [clip for clip in clips.values() if clip["class"] == kind]
        found[kind] = {}
        for prediction in ("network", "rules", "loudness", "network_less_rules"):
            figures: list[dict[str, float]] = [clip[prediction] for clip in of_class]  # type: ignore[misc]
            found[kind][prediction] = {
                key: round(float(np.mean([figure[key] for figure in figures])), 3)
                for key in figures[0]
            }
    return found


def held_out(plain: Path) -> dict[str, dict[str, float]]:
    """Correlation of each output with what the marks call for, by voice."""
    with np.load(plain, allow_pickle=False) as file:
        features, targets, voices = file["features"], file["targets"], file["voices"]
    found: dict[str, dict[str, float]] = {}
    for voice in sorted(set(voices.tolist())):
        chosen = np.flatnonzero(voices == voice)
        said = np.concatenate([through_network(features[i]) for i in chosen])
        wanted = np.concatenate(targets[chosen]).astype(np.float64)
        found[voice] = {
            name: round(correlation(said[:, i], wanted[:, i]), 3)
            for i, name in enumerate((*MouthShape._fields, "speaks"))
        }
    return found


def through_network(features: NDArray[np.float16]) -> Track:
    """What the network says at each step of one example."""
    net = MouthNet(shipped_weights())
    blocks = features.astype(np.float32).reshape(-1, BLOCK_STEPS * STEP_ROWS, NUM_BANDS)
    return np.concatenate([net.hear(rows) for rows in blocks]).astype(np.float64)


def speed() -> float:
    """Seconds of speech for a second of one processor, in pieces of 40 ms."""
    samples = babble(SPEED_SECONDS)
    pieces = (SpeechChunk(samples[start:][:640]) for start in range(0, len(samples), 640))
    start = time.process_time()
    for _ in mouth_shapes(pieces, FPS):
        pass
    return round(SPEED_SECONDS / (time.process_time() - start), 1)


if __name__ == "__main__":
    raise SystemExit(main())
