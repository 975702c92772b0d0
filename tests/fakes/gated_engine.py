"""Engines that a test can hold, watch and break."""

import threading
from collections.abc import Iterable, Iterator
from fractions import Fraction

from contracts.lipsync import LipSyncOptions
from gpu_service.data import FacePatch, FaceTrack, Progress, SpeechChunk
from tests.fakes.engine import CountingEngine

LONGEST_WAIT_SECONDS = 30


class GatedEngine(CountingEngine):
    """Counts, but prepares only while its gate is open; one object serves a whole app."""

    info = CountingEngine.info.model_copy(update={"name": "gated"})
    latest: "GatedEngine"

    def __init__(self) -> None:
        type(self).latest = self
        self.gate = threading.Event()
        self.gate.set()
        self.waiting = threading.Event()
        self.closed = threading.Event()
        self.num_patches = 0

    def prepare(self, track: FaceTrack, options: LipSyncOptions, progress: Progress) -> Fraction:
        progress("prepare", 0.0, 2.0)
        self.waiting.set()
        assert self.gate.wait(LONGEST_WAIT_SECONDS), "nobody opened the gate"
        return super().prepare(track, options, progress)

    def render(
        self, avatar: Fraction, speech: Iterable[SpeechChunk], options: LipSyncOptions
    ) -> Iterator[FacePatch]:
        try:
            for patch in super().render(avatar, speech, options):
                self.num_patches += 1
                yield patch
        finally:
            self.closed.set()


class BrokenEngine(CountingEngine):
    """Fails after five frames, as a bug would."""

    info = CountingEngine.info.model_copy(update={"name": "broken"})

    def render(
        self, avatar: Fraction, speech: Iterable[SpeechChunk], options: LipSyncOptions
    ) -> Iterator[FacePatch]:
        for patch in super().render(avatar, speech, options):
            if patch.frame_index == 5:
                raise ZeroDivisionError("a bug of the engine")
            yield patch


class HeldEngine(CountingEngine):
    """Waits in mid-render while its gate is shut; says what it has begun."""

    info = CountingEngine.info.model_copy(update={"name": "held"})
    latest: "HeldEngine"

    def __init__(self) -> None:
        type(self).latest = self
        self.gate = threading.Event()
        self.gate.set()
        self.reached = threading.Event()
        self.num_renders = 0

    def render(
        self, avatar: Fraction, speech: Iterable[SpeechChunk], options: LipSyncOptions
    ) -> Iterator[FacePatch]:
        self.num_renders += 1
        for patch in super().render(avatar, speech, options):
            if patch.frame_index == 50:
                self.reached.set()
                assert self.gate.wait(LONGEST_WAIT_SECONDS), "nobody opened the gate"
            yield patch
