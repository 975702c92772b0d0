"""From phoneme marks to mouth shapes: each sound pulls the mouth its way, around its own time.

The blend is a dominance model after Cohen and Massaro, "Modeling coarticulation in synthetic visual
speech" (1993): the shape is the mean of the sounds' targets, weighted by how strongly each insists
at that moment. Flanks end at a fixed reach here, so that the look-ahead is bounded.
"""

import math
from collections import deque
from fractions import Fraction
from itertools import takewhile
from typing import NamedTuple

from contracts.marks import PhonemeMark
from gpu_service.audio.visemes import Articulation, gestures
from gpu_service.data import SpeechChunk
from gpu_service.engines.facewarp.shape import REST, MouthShape

LOOK_AHEAD_SECONDS = 0.2
"""A mark that begins later than this after a frame has no say in it."""

_JAW_ATTACK, _JAW_RELEASE = 0.12, 0.13
_LIP_ATTACK, _LIP_RELEASE = 0.19, 0.15
_PULSE_FLANK = 0.05
# So little that no sound is felt to insist.
_NO_WEIGHT = 1e-6
# Neighbours average the extremes away; speech is to use the whole range nevertheless.
_LIVELY = 1.1
# Voices mark p and b at the burst; the lips have met for some 50 ms by then.
_BURST_LEAD = 0.015
_LONGEST_BURST = 0.06
_SHORTEST_CLOSURE = 0.05
# Longer, a contact would begin before the look-ahead shows its mark.
_LONGEST_STRETCH = 0.25
# A contact that low frame rates stretch stays near the onset that the ear waits for.
_LATEST_CENTRE = 0.02
_TEETH_OPEN = 0.1
_FORGET_SECONDS = 0.3


class _Sound(NamedTuple):
    start: float
    end: float
    articulation: Articulation


class _Pulse(NamedTuple):
    start: float
    end: float
    lips: str


class MarkShapes:
    """Mouth shapes of a speech whose voice gives phoneme marks.

    Args:
        fps: Frame rate at which shapes are asked for; from 4 on, a lip closure lasts at least one
            frame, so that at least one frame shows it.
    """

    def __init__(self, fps: Fraction) -> None:
        frame = min(float(1 / fps) + 0.001, _LONGEST_STRETCH)
        self._shortest_pulse = max(_SHORTEST_CLOSURE, frame)
        self._sounds: deque[_Sound] = deque()
        self._pulses: deque[_Pulse] = deque()

    def take(self, chunk: SpeechChunk) -> None:
        """Hear the next piece of the speech."""
        for mark in chunk.marks or ():
            self._add(mark)

    def finish(self) -> None:
        """The speech has ended."""

    def shape(self, seconds: float) -> MouthShape:
        """The shape at a time; times must not go back."""
        self._forget(seconds - _FORGET_SECONDS)
        horizon = seconds + LOOK_AHEAD_SECONDS
        sounds = list(takewhile(lambda sound: sound.start < horizon, self._sounds))
        if not sounds:
            return REST
        opening, width, rounding = _blend(sounds, seconds)
        closure = self._pulse("closed", seconds)
        fv = self._pulse("teeth", seconds)
        opening += (min(opening, _TEETH_OPEN) - opening) * fv
        return MouthShape(opening * (1.0 - closure), width, rounding, closure, fv)

    def _add(self, mark: PhonemeMark) -> None:
        start, length = mark.start, max(mark.end - mark.start, 0.0)
        for articulation, share in gestures(mark.phoneme):
            end = start + share * length
            self._sounds.append(_Sound(start, end, articulation))
            if articulation.lips != "free":
                self._pulses.append(self._contact(start, end, articulation.lips))
            start = end

    def _contact(self, start: float, end: float, lips: str) -> _Pulse:
        length = end - start
        if lips == "closed" and length < _LONGEST_BURST:
            centre, length = start - _BURST_LEAD, 0.0
        else:
            centre, length = (start + end) / 2, length - _PULSE_FLANK / 2
        if length < self._shortest_pulse:
            centre = min(centre, start + _LATEST_CENTRE)
        half = max(length, self._shortest_pulse) / 2
        return _Pulse(centre - half, centre + half, lips)

    def _pulse(self, lips: str, seconds: float) -> float:
        horizon = seconds + LOOK_AHEAD_SECONDS
        return max(
            (
                _flanks(pulse, seconds, _PULSE_FLANK, _PULSE_FLANK)
                for pulse in takewhile(lambda pulse: pulse.start < horizon, self._pulses)
                if pulse.lips == lips
            ),
            default=0.0,
        )

    def _forget(self, before: float) -> None:
        for queue in (self._sounds, self._pulses):
            while queue and queue[0].end < before:
                queue.popleft()


def _blend(sounds: list[_Sound], seconds: float) -> tuple[float, float, float]:
    jaw_sum = lip_sum = _NO_WEIGHT
    jaw_reach = lip_reach = opening = width = rounding = 0.0
    for sound in sounds:
        articulation = sound.articulation
        jaw = _flanks(sound, seconds, _JAW_ATTACK, _JAW_RELEASE)
        lip = _flanks(sound, seconds, _LIP_ATTACK, _LIP_RELEASE)
        jaw_reach, lip_reach = max(jaw_reach, jaw), max(lip_reach, lip)
        # Squared, a flank keeps its reach but gives way to whatever is spoken now.
        jaw *= jaw * articulation.jaw_weight
        lip *= lip * articulation.lip_weight
        opening += jaw * articulation.open
        width += lip * articulation.width
        rounding += lip * articulation.round
        jaw_sum += jaw
        lip_sum += lip
    # Where no sound reaches, the mouth returns to rest.
    jaw_reach, lip_reach = jaw_reach / jaw_sum, lip_reach / lip_sum
    return min(_LIVELY * opening * jaw_reach, 1.0), width * lip_reach, rounding * lip_reach


def _flanks(span: _Sound | _Pulse, seconds: float, attack: float, release: float) -> float:
    """1 within the span, falling to 0 along a raised cosine over attack and release."""
    outside = max((span.start - seconds) / attack, (seconds - span.end) / release, 0.0)
    return 0.5 + 0.5 * math.cos(math.pi * min(outside, 1.0))
