"""A face and a speech in, a video out: the only place where all the stages meet."""

import dataclasses
import json
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Any, Final, NamedTuple

from contracts.errors import EngineUnavailable, FaceKindUnsupported
from contracts.lipsync import (
    EngineInfo,
    FrameRange,
    LengthMode,
    LipSyncOptions,
    RenderReport,
)
from contracts.marks import PhonemeMark
from contracts.records import EventRecord, InitRecord, MediaRecord, ProgressRecord, Record
from gpu_service.avatars import AvatarKey, Avatars, Prepared
from gpu_service.compose import Canvas
from gpu_service.data import Box, FacePatch, FaceSource, Frame, Progress
from gpu_service.engines.base import Engine
from gpu_service.engines.registry import engines_for
from gpu_service.faces.detectors import BoxDetector, Detectors
from gpu_service.faces.track import track_faces
from gpu_service.media.decode import decode_face, decode_sound, speech_chunks
from gpu_service.media.encode import Encoder, Fragment
from gpu_service.pipeline import FRAMES_AHEAD, Ahead
from gpu_service.timeline import (
    Timeline,
    fit_sound,
    needed_frames,
    output_fps,
    plan,
    shown_frames,
    speech_frames,
)

Emit = Callable[[Record, bytes], None]
"""emit(record, payload): called from the thread that renders; raises to stop the render."""

PROGRESS_SECONDS: Final = Fraction(1, 5)
"""How much video is rendered between two reports of progress."""

PATCHES_AHEAD: Final = 16
"""So many patches may be drawn before they are encoded: engines draw some at once."""
STAGES: Final = ("decode", "track", "prepare", "render", "compose", "encode")

_FOR_PHOTOS: Final = frozenset({"motion", "seed"})
"""Options that change nothing in a video: its head moves as it was filmed."""
_FOR_VIDEOS: Final = frozenset({"length_mode", "smoothing"})
_EVERY_ENGINE: Final = frozenset({"engine", "fps", "max_height", "face"})
"""Options that the road itself uses."""
_SHAPE_NO_AVATAR: Final = frozenset({"engine", "seed"})
"""The avatar is kept by the engine itself, not by its name, and only `render` draws at random."""


@dataclass(frozen=True)
class RenderRequest:
    """What a caller wants rendered."""

    face: bytes
    speech: bytes
    options: LipSyncOptions
    marks: tuple[PhonemeMark, ...] | None = None
    unknown: tuple[str, ...] = ()
    """Names of options that were given and that this host does not know."""

    @cached_property
    def face_sha256(self) -> str:
        """What the face is known by."""
        return sha256(self.face).hexdigest()

    @cached_property
    def speech_sha256(self) -> str:
        """What the speech is known by."""
        return sha256(self.speech).hexdigest()

    @cached_property
    def sha256(self) -> str:
        """The same for requests that ask for the same video."""
        marks = self.marks and [mark.model_dump() for mark in self.marks]
        parts = [self.face_sha256, self.speech_sha256, self.options.model_dump(), marks]
        return sha256(json.dumps(parts).encode()).hexdigest()


class _Clock:
    """Adds up wall seconds by stage."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(STAGES, 0.0)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count what happens within for this stage."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] += time.perf_counter() - started


def render(
    request: RenderRequest,
    engine: Engine[Any],
    emit: Emit,
    file: Path | None = None,
    detectors: Detectors | None = None,
    avatars: Avatars | None = None,
) -> RenderReport:
    """Render one video.

    The engine draws and source frames are decoded in threads of their own, while this one mixes and
    encodes; none of them is left when this returns or raises.

    The first record is emitted once face and speech are decoded, so that a caller who waits for
    it hears of bad input as an error and not in the middle of an answer.

    Args:
        request: Face, speech and options.
        engine: What draws.
        emit: Told which engine renders and how far it is; without a file, it is also given the
            fragments of the video as they are made.
        file: Where the video goes as one MP4.
        detectors: Of this host, beside MediaPipe; None has no other.
        avatars: Faces that were prepared before; None has none.

    Raises:
        LipSyncError: The face or the speech can't be used, or the render failed.
    """
    clock = _Clock()
    info, options = engine.info, request.options
    detector = _detector(options, info, detectors)

    def progress(stage: str, done: float, total: float) -> None:
        emit(ProgressRecord(stage=stage, done=done, total=total), b"")

    with clock.stage("decode"):
        source = decode_face(request.face, options.max_height)
        if source.kind not in info.accepts:
            raise FaceKindUnsupported(
                f"the engine {info.name} does not animate a {source.kind}",
                hint=f"Engines that do: {', '.join(engines_for(source.kind))}; /engines says what "
                "each needs.",
            )
        sound = decode_sound(request.speech)
    fps = output_fps(source, options)
    mode = options.length_mode if source.kind == "video" else "loop"
    num_spoken = speech_frames(sound, fps)
    emit(EventRecord(name="engine", value=info.name), b"")
    preparation = _Preparation(source, engine, options, fps, mode, num_spoken, detector)
    prepared = (avatars or Avatars(0)).get(
        preparation.key(request.face_sha256),
        preparation.needed,
        lambda: preparation.run(progress, clock),
        lambda: progress("prepare", 0, 1),
    )
    avatar = prepared.avatar
    timeline = plan(fps, num_spoken, prepared.num_source_frames, mode)
    sound = fit_sound(sound, timeline)
    drawing = engine.render(avatar, speech_chunks(sound, request.marks), options)
    encoder = Encoder(
        file,
        width=source.width,
        height=source.height,
        fps=timeline.fps,
        sound=sound,
        label=f"AI-generated video; face animated by {info.name} {info.version}, LipSync Studio",
    )
    with (
        Ahead(drawing, PATCHES_AHEAD, "draw") as patches,
        Ahead(shown_frames(source, timeline), FRAMES_AHEAD, "decode") as frames,
        closing(encoder),
    ):
        composed = _compose(iter(patches), frames, clock)
        untouched = _write(composed, timeline, encoder, clock, emit)
    clock.seconds["decode"] += frames.seconds
    clock.seconds["render"] += patches.seconds
    return RenderReport(
        engine=info.name,
        engine_version=info.version,
        width=source.width,
        height=source.height,
        fps=float(timeline.fps),
        num_frames=timeline.num_frames,
        seconds=timeline.seconds,
        stage_seconds={name: round(seconds, 4) for name, seconds in clock.seconds.items()},
        frames_without_face=_ranges(untouched),
        ignored=(*_ignored(options, info, source.kind), *request.unknown),
        warnings=prepared.warnings,
    )


@dataclass(frozen=True)
class _Preparation:
    """What is done once for a face, whatever it says."""

    source: FaceSource
    engine: Engine[Any]
    options: LipSyncOptions
    fps: Fraction
    mode: LengthMode
    num_spoken: int
    """Frames that show the speech."""
    detector: BoxDetector | None

    @property
    def needed(self) -> int | None:
        """How many source frames can be shown at most; None where all of them are."""
        return needed_frames(self.num_spoken, self.mode)

    def key(self, face_sha256: str) -> AvatarKey:
        """What the avatar depends on."""
        used = _used_options(self.engine.info, self.source.kind) - _SHAPE_NO_AVATAR
        shaping = tuple(sorted(self.options.model_dump(include=set(used)).items()))
        num_frames = self.num_spoken if self.mode == "remap" else None
        return AvatarKey(face_sha256, self.engine, shaping, num_frames)

    def run(self, progress: Progress, clock: _Clock) -> Prepared:
        """Find the face and make the engine's avatar of it."""
        progress("track", 0, 1)
        with clock.stage("track"):
            track = track_faces(
                self.source, self.fps, self.options, progress, self.needed, self.detector
            )
        num_source_frames = len(track.faces)
        timeline = plan(self.fps, self.num_spoken, num_source_frames, self.mode)
        track = dataclasses.replace(track, source_index=timeline.source_index)
        progress("prepare", 0, 1)
        with clock.stage("prepare"):
            avatar = self.engine.prepare(track, self.options, progress)
        return Prepared(avatar, num_source_frames, track.warnings)


def _detector(
    options: LipSyncOptions, info: EngineInfo, detectors: Detectors | None
) -> BoxDetector | None:
    """What says where the face's box is; None leaves it to MediaPipe's landmarks."""
    if "detector" not in info.options or options.detector == "mediapipe":
        return None
    if detectors is None:
        raise EngineUnavailable(
            f"there is no detector {options.detector} here", hint="Leave the option detector out."
        )
    return detectors.s3fd()


class _Shown(NamedTuple):
    """One output frame."""

    pixels: Frame
    """Until the next frame is made."""
    changed: Box | None
    """Where it may differ from the one before; None for everywhere."""
    is_drawn: bool
    """Whether the engine drew on it."""


def _compose(
    patches: Iterator[FacePatch], frames: Iterable[Frame], clock: _Clock
) -> Iterator[_Shown]:
    canvas = Canvas()
    patch = next(patches, None)
    for index, frame in enumerate(frames):
        is_drawn = patch is not None and patch.frame_index == index
        with clock.stage("compose"):
            pixels, changed = canvas.show(frame, patch if is_drawn else None)
        yield _Shown(pixels, changed, is_drawn)
        if is_drawn:
            patch = next(patches, None)


def _write(
    frames: Iterator[_Shown],
    timeline: Timeline,
    encoder: Encoder,
    clock: _Clock,
    emit: Emit,
) -> list[int]:
    """Encode the frames and hand on what comes of it; gives the frames that nobody drew on."""
    untouched = []
    seqs = count()
    frames_a_report = max(1, round(PROGRESS_SECONDS * timeline.fps))
    for index, frame in enumerate(frames):
        if not frame.is_drawn:
            untouched.append(index)
        with clock.stage("encode"):
            fragments = encoder.write(frame.pixels, frame.changed)
        _emit_fragments(fragments, seqs, emit)
        if (index + 1) % frames_a_report == 0:
            done = float((index + 1) / timeline.fps)
            emit(ProgressRecord(stage="render", done=done, total=timeline.seconds), b"")
    with clock.stage("encode"):
        fragments = encoder.finish()
    _emit_fragments(fragments, seqs, emit)
    return untouched


def _emit_fragments(fragments: Iterable[Fragment], seqs: Iterator[int], emit: Emit) -> None:
    for fragment, seq in zip(fragments, seqs, strict=False):
        if seq == 0:
            emit(InitRecord(), fragment.data)
        else:
            record = MediaRecord(seq=seq, start=fragment.start, seconds=fragment.seconds)
            emit(record, fragment.data)


def _ranges(indices: Iterable[int]) -> tuple[FrameRange, ...]:
    ranges: list[FrameRange] = []
    for index in indices:
        if ranges and ranges[-1].last == index - 1:
            ranges[-1] = FrameRange(first=ranges[-1].first, last=index)
        else:
            ranges.append(FrameRange(first=index, last=index))
    return tuple(ranges)


def _used_options(info: EngineInfo, kind: str) -> frozenset[str]:
    """Options that may change something here."""
    used = _EVERY_ENGINE.union(info.options, _FOR_VIDEOS)
    return used - (_FOR_PHOTOS if kind == "video" else _FOR_VIDEOS)


def _ignored(options: LipSyncOptions, info: EngineInfo, kind: str) -> tuple[str, ...]:
    """Options that differ from their default and change nothing here."""
    used = _used_options(info, kind)
    changed = options.model_dump(exclude_defaults=True)
    return tuple(name for name in changed if name not in used)
