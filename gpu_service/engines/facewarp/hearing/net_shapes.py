"""From the sound alone to mouth shapes: by a network that was taught by voices with marks."""

import math
from collections import deque
from fractions import Fraction
from typing import Final

from gpu_service.audio.speech_mel import HOP, SpeechMel
from gpu_service.data import SPEECH_RATE, SpeechChunk
from gpu_service.engines.facewarp.hearing.mouth_net import (
    BLOCK_STEPS,
    STEP_ROWS,
    Array,
    MouthNet,
    shipped_weights,
)
from gpu_service.engines.facewarp.shape import MouthShape

DELAY_STEPS: Final = 6
"""The network says at each step what the mouth did so many steps ago."""
LEAD_SECONDS: Final = 0.04
"""Mouths move before they are heard; the network was taught to."""

_STEP_SECONDS: Final = STEP_ROWS * HOP / SPEECH_RATE
_OPEN, _WIDTH, _ROUND, _CLOSURE, _FV, _SPEAKS = range(6)
# A closure that is heard with this certainty is shown in full, one below the other not at all.
_NO_CLOSURE, _FULL_CLOSURE = 0.15, 0.6
_NO_FV, _FULL_FV = 0.15, 0.5
_QUIET, _SPEAKING = 0.5, 0.9
_SPEAKS_STEPS: Final = 4
# A frame of 25 a second, which shows each closure without help.
_SHORT_FRAME_STEPS: Final = 2
_LIVELY: Final = 1.25
_TEETH_OPEN: Final = 0.1


class NetShapes:
    """Mouth shapes of a speech that comes without marks.

    Args:
        fps: Frame rate at which shapes are asked for; where frames last longer than a closure of
            the lips, the one that is nearest shows it.
    """

    def __init__(self, fps: Fraction) -> None:
        self._mel = SpeechMel()
        self._net = MouthNet(shipped_weights())
        self._steps: deque[Array] = deque()
        self._first_step = 0
        self._frame_steps = float(1 / fps) / _STEP_SECONDS

    def take(self, chunk: SpeechChunk) -> None:
        """Hear the next piece of the speech."""
        for rows in self._mel.take(chunk.samples):
            self._hear(rows)

    def finish(self) -> None:
        """The speech has ended; what follows is as quiet as it was of late."""
        for rows in self._mel.finish((DELAY_STEPS + 3 * BLOCK_STEPS) * STEP_ROWS):
            self._hear(rows)

    def shape(self, seconds: float) -> MouthShape:
        """The shape at a time whose look-ahead was heard; times must not go back."""
        place = seconds / _STEP_SECONDS + DELAY_STEPS
        before = math.floor(place)
        self._forget(math.floor(place - max(self._frame_steps, _SPEAKS_STEPS)))
        share = place - before
        now = (1 - share) * self._step(before) + share * self._step(before + 1)
        speaks = (1 - share) * self._speaks(before) + share * self._speaks(before + 1)
        closure = _ramp(self._strongest(_CLOSURE, place, now), _NO_CLOSURE, _FULL_CLOSURE) * speaks
        fv = _ramp(self._strongest(_FV, place, now), _NO_FV, _FULL_FV) * speaks
        opening = min(_LIVELY * float(now[_OPEN]), 1.0) * speaks
        opening += (min(opening, _TEETH_OPEN) - opening) * fv
        width, rounding = float(now[_WIDTH]) * speaks, float(now[_ROUND]) * speaks
        return MouthShape(opening * (1 - closure), width, rounding, closure, fv)

    def _speaks(self, index: int) -> float:
        """Whether somebody speaks, of late: speech that is cut off shuts the mouth not at once."""
        sure = (self._step(index - i)[_SPEAKS] for i in range(_SPEAKS_STEPS))
        return sum(_ramp(value, _QUIET, _SPEAKING) for value in sure) / _SPEAKS_STEPS

    def _strongest(self, channel: int, place: float, now: Array) -> float:
        """What the channel reaches within the frame's own time, where frames are long."""
        earliest = math.ceil(place - self._frame_steps + _SHORT_FRAME_STEPS)
        within = range(earliest, math.floor(place) + 1)
        return max([float(now[channel]), *(float(self._step(i)[channel]) for i in within)])

    def _step(self, index: int) -> Array:
        return self._steps[min(max(index - self._first_step, 0), len(self._steps) - 1)]

    def _hear(self, rows: Array) -> None:
        self._steps.extend(self._net.hear(rows))

    def _forget(self, before: int) -> None:
        while self._first_step < before and len(self._steps) > 1:
            self._steps.popleft()
            self._first_step += 1


def _ramp(value: float, low: float, high: float) -> float:
    return min(max((float(value) - low) / (high - low), 0.0), 1.0)
