"""How far a sound asks the mouth to open, by rules: loudness times first formant, causally."""

import math
from collections import deque
from fractions import Fraction
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gpu_service.audio.speech_features import (
    BLOCK_ROWS,
    F1,
    HISS,
    HOP,
    LEVEL,
    WINDOW,
    Rows,
    SpeechFeatures,
)
from gpu_service.audio.speech_level import AHEAD, CONTEXT, PAST, SpeechLevel
from gpu_service.data import SPEECH_RATE, Samples, num_frames

_NOW: Final = slice(PAST, PAST + BLOCK_ROWS)
_DUE: Final = np.arange(PAST, PAST + BLOCK_ROWS)[:, None]
_BEFORE: Final = _DUE - np.arange(AHEAD + 1)
_AFTER: Final = _DUE + np.arange(AHEAD + 1)
_BURST: Final = _DUE + np.arange(5)

_ROW_SECONDS: Final = HOP / SPEECH_RATE
_WINDOW_CENTRE_SECONDS: Final = WINDOW / 2 / SPEECH_RATE
# Mouths move before they are heard.
_LEAD_SECONDS: Final = 0.04
_SMOOTH_ROWS: Final = 7.0
# Lips meet and part faster than the jaw moves.
_CONTACT_ROWS: Final = 4.0


class HeardMouth(NamedTuple):
    """What a sound calls for, frame by frame."""

    open: NDArray[np.float64]
    """(num_frames,) in [0, 1]; closures and f/v have already pulled it down."""
    closure: NDArray[np.float64]
    """(num_frames,): how much it sounds like lips that meet for a moment, in [0, 1]."""


def heard_mouth(samples: Samples, fps: Fraction) -> HeardMouth:
    """What the speech calls for at each of its `num_frames(len(samples), fps)` frames."""
    rules = _Rules(samples)
    count = num_frames(len(samples), fps)
    found = np.array([rules.at(float(index / fps)) for index in range(count)])
    return HeardMouth(found[:, 0], found[:, 1])


class _Rules:
    """Openings and contacts of the lips, row by row and then at any time."""

    def __init__(self, samples: Samples) -> None:
        self._context: Rows | None = None
        self._level = SpeechLevel()
        self._shapes: deque[NDArray[np.float64]] = deque()
        self._next_row = -AHEAD
        features = SpeechFeatures()
        for rows in features.take(samples):
            self._hear(rows)
        self._finish(features.finish())

    def _finish(self, rows: Rows) -> None:
        """What follows the speech is as quiet as its quietest moment of late."""
        context = rows if self._context is None else np.concatenate((self._context, rows))
        quiet = context[-1].copy()
        quiet[: LEVEL + 1] = context[-PAST:, : LEVEL + 1].min(axis=0)
        tail = np.concatenate((rows, np.tile(quiet, (AHEAD + 2 * BLOCK_ROWS, 1))))
        for start in range(0, len(tail) - BLOCK_ROWS + 1, BLOCK_ROWS):
            self._hear(tail[start : start + BLOCK_ROWS])

    def at(self, seconds: float) -> tuple[float, float]:
        """Opening and closure at a time; times must not go back."""
        centre = (seconds + _LEAD_SECONDS - _WINDOW_CENTRE_SECONDS) / _ROW_SECONDS
        first = math.ceil(centre - _SMOOTH_ROWS)
        oldest = self._next_row - len(self._shapes)
        while oldest < first and len(self._shapes) > 1:
            self._shapes.popleft()
            oldest += 1
        rows = np.arange(first, math.floor(centre + _SMOOTH_ROWS) + 1)
        places = np.clip(rows - oldest, 0, len(self._shapes) - 1)
        track = np.stack([self._shapes[place] for place in places])
        offsets = np.asarray(rows - centre, np.float64)
        (opening,) = _smoothed(track[:, :1], offsets, _SMOOTH_ROWS)
        closure, fv = _smoothed(track[:, 1:], offsets, _CONTACT_ROWS)
        return opening * (1 - closure) * (1 - 0.7 * fv), closure

    def _hear(self, rows: Rows) -> None:
        if self._context is None:
            self._context = np.tile(rows[0], (CONTEXT, 1))
        self._context = np.concatenate((self._context[BLOCK_ROWS:], rows))
        gate, loudness = self._level.follow(self._context)
        for shape in _shapes(self._context, gate, loudness):
            if self._next_row >= 0:
                self._shapes.append(shape)
            self._next_row += 1


def _shapes(
    context: Rows, gate: NDArray[np.float64], loudness: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Opening, closure and f/v of the rows that are due, not yet smoothed nor pulled down."""
    now = context[_NOW]
    jaw = np.clip((now[:, F1] - 330.0) / 400.0, 0.0, 1.0)
    hiss = np.clip((now[:, HISS] - 0.15) / 0.5, 0.0, 1.0)
    speaking = gate * np.minimum(3.0 * loudness, 1.0)
    closure = _dips(context) * gate
    opening = gate * loudness * (0.4 + 0.6 * jaw) * (1.0 - 0.6 * hiss)
    faint = np.clip((0.75 - loudness) / 0.3, 0.0, 1.0)
    fv = speaking * np.clip(2.0 * hiss - 1.0, 0.0, 1.0) * faint
    return np.stack((opening, closure, fv), axis=1)


def _smoothed(
    track: NDArray[np.float64], offsets: NDArray[np.float64], reach: float
) -> list[float]:
    """Mean of the rows, weighted by a cosine that ends `reach` rows away."""
    weights = np.cos(np.pi / 2 * np.clip(offsets / reach, -1.0, 1.0))
    smoothed: list[float] = ((weights[:, None] * track).sum(axis=0) / weights.sum()).tolist()
    return smoothed


def _dips(context: Rows) -> NDArray[np.float64]:
    """How much each row that is due looks like lips that meet for a moment, in [0, 1]."""
    level = context[:, LEVEL]
    sides = np.minimum(level[_BEFORE].max(axis=1), level[_AFTER].max(axis=1))
    # The burst of t or k hisses, that of p and b does not.
    hiss = context[:, HISS][_BURST].max(axis=1)
    depth = sides - level[_NOW]
    dull = np.clip(1.6 - 2.0 * hiss, 0.0, 1.0)
    dips: NDArray[np.float64] = dull * np.clip((depth - 12.0) / 10.0, 0.0, 1.0)
    return dips
