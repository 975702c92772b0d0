"""The life of a face: sway, nods, blinks, brows and breath, made from the speech as it arrives."""

import math
from collections import deque
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gpu_service.data import Samples
from gpu_service.engines.facewarp.life.pose import LARGEST_SHIFT, LARGEST_TURN, Pose
from gpu_service.engines.facewarp.life.rhythm import ROW_SECONDS, Beat, SpeechRhythm

AHEAD_ROWS: Final = 18
LOOK_AHEAD_SECONDS: Final = (AHEAD_ROWS + 2) * Fraction(1, 100)
"""Speech that a pose needs beyond its own time."""

_AXES: Final = 6
"""Yaw, pitch, roll, x, y and brow: what `Pose` begins with."""
_POSTURE_SD: Final = np.array([2.1, 1.15, 0.9, 0.005, 0.004])
"""How far postures lie apart while speaking, in degrees and face widths."""
_WANDER_SD: Final = np.array([0.5, 0.35, 0.3, 0.0012, 0.001])
_WANDER_SECONDS: Final = (2.5, 0.9, 0.3)
_NOISE_SD: Final = 0.037
"""What three low passes of these times leave of white noise with a spread of 1."""
_TILT_WITH_TURN: Final = 0.2
"""Heads that turn also tilt, in degrees of roll for one of yaw."""
_IDLE: Final = 0.55
"""How much of this is left in silence."""
_TALK_SECONDS: Final = 0.8
_EASE_SECONDS: Final = 1.2
"""How long the photo takes to come to life."""
_POSTURE_SECONDS, _TALKING_POSTURE_SECONDS = 3.6, 1.9
_FASTEST, _SLOWEST = 4.5, 2.2
"""How fast a head goes to its next posture, in radians a second."""
_BREATHS_A_SECOND: Final = 0.23
_BREATH_Y, _BREATH_PITCH = -0.0045, -0.28
_BLINK_SECONDS, _BLINK_SPREAD = 3.3, 0.45
"""Median time between blinks, and its spread as a logarithm."""
_LIMITS: Final = np.array([LARGEST_TURN] * 3 + [LARGEST_SHIFT] * 2)


@dataclass(frozen=True)
class _Gesture:
    """A movement that comes and goes."""

    start: float
    """Seconds."""
    size: NDArray[np.float64]
    """(_AXES,)"""
    attack: float
    hold: float
    release: float

    def share(self, seconds: float) -> float:
        """How much of it shows, in [0, 1]."""
        since = seconds - self.start
        if since < self.attack:
            return _smooth(since / self.attack)
        return 1 - _smooth((since - self.attack - self.hold) / self.release)

    def over(self, seconds: float) -> bool:
        """Whether nothing of it is left."""
        return seconds > self.start + self.attack + self.hold + self.release


def _smooth(share: float) -> float:
    t = min(max(share, 0.0), 1.0)
    return t * t * t * (t * (6 * t - 15) + 10)


class _Sway:
    """Postures that the head goes to and rests in, with a slow wander between: never a period."""

    def __init__(self, random: np.random.Generator) -> None:
        self._random = random
        self._goal = np.zeros(5)
        self._aim = np.zeros(5)
        self._place = np.zeros(5)
        self._speed = np.zeros(5)
        self._stages = np.zeros((3, 5))
        self._quickness = self._wanted_quickness = _SLOWEST
        self._next = 0.0

    def shift(self, seconds: float, talk: float) -> None:
        """Choose the next posture."""
        random = self._random
        goal = 0.25 * self._goal + _POSTURE_SD * np.clip(random.standard_normal(5), -2.0, 2.0)
        goal[2] += _TILT_WITH_TURN * goal[0]
        self._goal = np.clip(goal, -2.2 * _POSTURE_SD, 2.2 * _POSTURE_SD)
        self._wanted_quickness = float(random.uniform(_SLOWEST, _FASTEST))
        mean = _POSTURE_SECONDS + (_TALKING_POSTURE_SECONDS - _POSTURE_SECONDS) * talk
        self._next = seconds + mean * math.exp(0.4 * float(random.standard_normal()))

    def step(self, seconds: float, talk: float) -> NDArray[np.float64]:
        """Yaw, pitch, roll, x and y one row later."""
        if seconds >= self._next:
            self.shift(seconds, talk)
        step = ROW_SECONDS
        self._quickness += (self._wanted_quickness - self._quickness) * step / 0.5
        self._aim += (self._goal - self._aim) * step / 0.2
        pull = self._quickness**2 * (self._aim - self._place)
        self._speed += (pull - 2 * self._quickness * self._speed) * step
        self._place += self._speed * step
        noise = self._random.standard_normal(5)
        for stage, seconds_constant in zip(self._stages, _WANDER_SECONDS, strict=True):
            stage += (noise - stage) * step / seconds_constant
            noise = stage
        return np.asarray(self._place + self._stages[2] * (_WANDER_SD / _NOISE_SD))


class _Lids:
    """Blinks at human intervals, sooner where a phrase ends."""

    def __init__(self, random: np.random.Generator) -> None:
        self._random = random
        self._closing, self._shut, self._opening = 0.1, 0.05, 0.18
        self._start = self._draw(1.0)
        self._last_end = 0.0
        self._doubled = False

    def pull_forward(self, seconds: float) -> None:
        """Blink soon, unless an eye has just blinked."""
        soon = seconds + float(self._random.uniform(0.0, 0.3))
        if self._random.random() < 0.45 and self._last_end + 1.0 < seconds < self._start:
            self._start = min(self._start, soon)

    def step(self, seconds: float) -> float:
        """How far the lids are closed, in [0, 1]."""
        since = seconds - self._start
        if since < 0:
            return 0.0
        if since < self._closing:
            return _smooth(since / self._closing)
        opening = (since - self._closing - self._shut) / self._opening
        if opening < 1:
            # Lids rise fast at first and slowly at last.
            return 1 - _smooth(max(opening, 0.0) ** 0.8)
        self._next(seconds)
        return 0.0

    def _next(self, seconds: float) -> None:
        random = self._random
        self._last_end = seconds
        self._doubled = not self._doubled and random.random() < 0.08
        if self._doubled:
            self._start = seconds + float(random.uniform(0.05, 0.2))
        else:
            self._start = seconds + self._draw(1.0)
        self._closing = float(random.uniform(0.085, 0.115))
        self._shut = float(random.uniform(0.035, 0.065))
        self._opening = float(random.uniform(0.15, 0.21))

    def _draw(self, least: float) -> float:
        interval = _BLINK_SECONDS * math.exp(_BLINK_SPREAD * float(self._random.standard_normal()))
        return min(max(interval, least), 9.0)


class Life:
    """Poses of a head whose speech arrives in pieces.

    A pose depends on the speech up to LOOK_AHEAD_SECONDS after it, on the time and on the seed,
    and on nothing else: neither on the cuts nor on the frame rate. It starts as in the photo, goes
    on for ever and keeps a few seconds of memory.
    """

    def __init__(self, seed: int) -> None:
        random = np.random.default_rng(seed)
        sway, lids, self._random = random.spawn(3)
        self._sway, self._lids = _Sway(sway), _Lids(lids)
        self._rhythm = SpeechRhythm()
        self._beats: deque[Beat] = deque()
        self._finished = False
        self._row = -AHEAD_ROWS
        self._talk = 0.0
        self._breath = 0.0
        self._gestures: list[_Gesture] = []
        self._last_nod = self._last_brow = 0.0
        self._before = self._now = np.zeros(_AXES + 1)

    def take(self, samples: Samples) -> None:
        """Hear the next piece of the speech."""
        self._beats.extend(self._rhythm.take(samples))

    def finish(self) -> None:
        """The speech has ended; silence follows."""
        self._finished = True

    def pose(self, seconds: float) -> Pose:
        """The pose at a time whose look-ahead was heard; times must not go back."""
        place = seconds / ROW_SECONDS
        while self._row <= place + 1:
            self._step()
        # The rows beside the time: `_now` is that of `_row - 1`.
        share = min(max(place - (self._row - 2), 0.0), 1.0)
        return Pose(*(self._before + (self._now - self._before) * share).tolist())

    def _step(self) -> None:
        if not self._beats and not self._finished:
            raise RuntimeError("a pose was asked for whose look-ahead was not heard")
        beat = self._beats.popleft() if self._beats else self._rhythm.silence()
        seconds = self._row * ROW_SECONDS
        self._row += 1
        if seconds < -ROW_SECONDS / 2:
            # Nobody sees what came before the first frame, but the speech may start there.
            self._follow(beat, 0.0)
            return
        self._follow(beat, seconds)
        self._before, self._now = self._now, self._values(seconds)

    def _follow(self, beat: Beat, seconds: float) -> None:
        """Start the gestures that the speech asks for."""
        self._talk += (beat.speaking - self._talk) * ROW_SECONDS / _TALK_SECONDS
        random = self._random
        if beat.starts:
            self._sway.shift(seconds, self._talk)
            lift = _axes(pitch=-random.uniform(0.2, 1.0))
            self._gestures.append(_Gesture(seconds, lift, 0.4, 0.1, 0.9))
            if random.random() < 0.35:
                self._raise_brows(seconds, 0.7)
        if beat.ends:
            self._sway.shift(seconds, self._talk)
            dip = _axes(pitch=random.uniform(0.4, 1.4), roll=random.normal(0, 0.3))
            self._gestures.append(_Gesture(seconds, dip, 0.4, 0.2, 1.0))
            self._lids.pull_forward(seconds)
        if beat.stress > 0:
            self._stress(beat.stress, seconds)

    def _stress(self, strength: float, seconds: float) -> None:
        random = self._random
        chance, size = random.random(), random.uniform(0.7, 1.3)
        if seconds > self._last_nod + 0.42 and chance < 0.4 + 0.45 * strength:
            self._last_nod = seconds
            down = size * (0.7 + 1.3 * strength) * (1.0 if random.random() < 0.85 else -0.7)
            nod = _axes(yaw=random.normal(0, 0.4), pitch=down, roll=random.normal(0, 0.35))
            attack, release = random.uniform(0.2, 0.3), random.uniform(0.32, 0.55)
            self._gestures.append(_Gesture(seconds, nod, attack, 0.02, release))
        if random.random() < 0.08 + 0.22 * strength:
            self._raise_brows(seconds, 0.4 + 0.6 * strength)

    def _raise_brows(self, seconds: float, size: float) -> None:
        if seconds < self._last_brow + 2.2:
            return
        self._last_brow = seconds
        random = self._random
        raised = _axes(brow=size * random.uniform(0.5, 1.0))
        hold, release = random.uniform(0.05, 0.3), random.uniform(0.35, 0.6)
        self._gestures.append(_Gesture(seconds, raised, random.uniform(0.18, 0.28), hold, release))

    def _values(self, seconds: float) -> NDArray[np.float64]:
        self._gestures = [each for each in self._gestures if not each.over(seconds)]
        values = np.zeros(_AXES + 1)
        values[:5] = self._sway.step(seconds, self._talk) * (_IDLE + (1 - _IDLE) * self._talk)
        for gesture in self._gestures:
            values[:_AXES] += gesture.size * gesture.share(seconds)
        rate = _BREATHS_A_SECOND * (1 + 0.2 * math.sin(0.37 * self._breath))
        self._breath += 2 * math.pi * rate * ROW_SECONDS
        # In goes faster than out.
        chest = math.sin(self._breath + 0.35 * math.sin(self._breath)) * (1 - 0.6 * self._talk)
        values[1] += _BREATH_PITCH * chest
        values[4] += _BREATH_Y * chest
        values[:_AXES] *= _smooth(seconds / _EASE_SECONDS)
        values[:5] = _LIMITS * np.tanh(values[:5] / _LIMITS)
        values[5] = min(values[5], 1.0)
        values[6] = self._lids.step(seconds)
        return values


def _axes(
    yaw: float = 0.0, pitch: float = 0.0, roll: float = 0.0, brow: float = 0.0
) -> NDArray[np.float64]:
    return np.array([yaw, pitch, roll, 0.0, 0.0, brow])
