"""At which lag two tracks in time fit best, and how much that means."""

import math
from fractions import Fraction
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

Track = NDArray[np.float64]
"""(num_frames,); NaN where nothing is known."""

REACH_SECONDS: Final = Fraction(3, 5)
"""How far one track is shifted: 15 frames at 25 a second."""
LEAST_SECONDS: Final = 1
"""Less than this is not compared."""
MEMORY_SECONDS: Final = 2
"""Mouths and speech don't remember longer."""


class Fit(NamedTuple):
    """Two tracks at their best lag."""

    r: float
    """Pearson's correlation there."""
    lag: int
    """In frames; positive when the second track is late."""
    r_at_zero: float | None
    r_above_rest: float
    """How far r stands above the median over all lags."""
    low: float
    """The lower end of the interval that holds r in 95 of 100 such tracks, chosen lag aside."""
    high: float
    chance: float
    """How probable so large an r is, at any lag, for tracks that know nothing of each other."""


def best_fit(heard: Track, seen: Track, fps: Fraction) -> Fit | None:
    """The lag at which the second track fits the first best; None where one of them stands still.

    Neighbouring frames are alike, so they count for fewer than they are. M. Bartlett, "Some aspects
    of the time-correlation problem" (1935), gives how many independent ones they are worth;
    Fisher's transform then gives the interval and the chance, the latter for as many independent
    lags as there were to choose from.

    Args:
        heard: The first track, known everywhere.
        seen: The second, as long.
        fps: Of both.
    """
    found = np.isfinite(seen)
    reach = int(REACH_SECONDS * fps)
    correlations = {
        lag: r
        for lag in range(-reach, reach + 1)
        if (r := _correlation(heard, seen, lag, fps)) is not None
    }
    if not correlations:
        return None
    lag = max(correlations, key=lambda each: correlations[each])
    r, count = correlations[lag], int(found.sum())
    worth = count / max(1.0, _memory(heard, seen, fps))
    deviations = math.sqrt(max(worth - 3.0, 0.0))
    z = math.atanh(min(r, 1 - 1e-9))
    once = 0.5 * math.erfc(z * deviations / math.sqrt(2))
    # Lags that follow one another are alike too. Twice as many choices as Bartlett's count of them
    # made the chance come true on noise as smooth as mouths: a tenth of the pairs were below 10 %.
    choices = min(max(1.0, 2 * len(correlations) * worth / count), len(correlations))
    spread = 1.96 / max(deviations, 1e-9)
    return Fit(
        r=r,
        lag=lag,
        r_at_zero=correlations.get(0),
        r_above_rest=r - float(np.median([*correlations.values()])),
        low=math.tanh(z - spread),
        high=math.tanh(z + spread),
        chance=-math.expm1(choices * math.log1p(-min(once, 1 - 1e-9))),
    )


def _correlation(heard: Track, seen: Track, lag: int, fps: Fraction) -> float | None:
    """Pearson's r of the first track with the second `lag` frames later; None where undefined."""
    length = len(seen) - abs(lag)
    early = heard[max(0, -lag) :][:length]
    late = seen[max(0, lag) :][:length]
    found = np.isfinite(late)
    if found.sum() < LEAST_SECONDS * fps - 1:
        return None
    x, y = early[found] - early[found].mean(), late[found] - late[found].mean()
    scale = math.sqrt(float(x @ x) * float(y @ y))
    return float(x @ y) / scale if scale > 1e-9 else None


def _memory(heard: Track, seen: Track, fps: Fraction) -> float:
    """How many frames are worth one independent frame."""
    found = np.isfinite(seen)
    tracks = [np.where(found, each - each[found].mean(), 0.0) for each in (heard, seen)]
    memory = 1.0
    for step in range(1, min(int(MEMORY_SECONDS * fps), len(seen) // 3)):
        alike = [float(each[step:] @ each[:-step]) / float(each @ each) for each in tracks]
        memory += 2 * alike[0] * alike[1]
    return memory
