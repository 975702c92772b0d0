"""The whole road, with an engine that counts."""

import io
import threading
import tracemalloc
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from contracts.errors import (
    Cancelled,
    FaceKindUnsupported,
    NoFaceFound,
    RenderFailed,
    SoundMissing,
    UndecodableMedia,
)
from contracts.lipsync import FrameRange, LipSyncOptions, RenderReport
from contracts.marks import PhonemeMark
from contracts.records import EventRecord, InitRecord, MediaRecord, ProgressRecord, Record
from gpu_service.avatars import Avatars
from gpu_service.data import (
    Box,
    FacePatch,
    FaceSource,
    FaceTrack,
    Frame,
    Progress,
    SpeechChunk,
)
from gpu_service.engines.facewarp.engine import FacewarpEngine
from gpu_service.media.encode import Encoder, Fragment
from gpu_service.render import PATCHES_AHEAD, RenderRequest, render
from gpu_service.timeline import Timeline, shown_frames
from tests.fakes.engine import CountingEngine, PhotoEngine
from tests.media import SAMPLES, filmed, media_file, picture, portrait, saved, tone, wav

PORTRAIT = (SAMPLES / "portrait.jpg").read_bytes()
OPTIONS = LipSyncOptions(max_height=384)
MARKER = 64
"""Side of the corner that a marking engine fills, in pixels."""


class MarkingEngine(CountingEngine):
    """Fills a corner with the frame's number, which outlives encoding; may leave frames out."""

    def __init__(self, without: Iterable[int] = ()) -> None:
        self.without = frozenset(without)
        self.chunks: list[SpeechChunk] = []
        self.iterated_in: list[int] = []
        self.closed_in: list[int] = []

    def render(
        self, avatar: Fraction, speech: Iterable[SpeechChunk], options: LipSyncOptions
    ) -> Iterator[FacePatch]:
        try:
            for patch in super().render(avatar, self._kept(speech), options):
                self.iterated_in.append(threading.get_ident())
                if patch.frame_index not in self.without:
                    colour = 16 + 4 * patch.frame_index % 224
                    pixels = np.full((MARKER, MARKER, 3), colour, np.uint8)
                    yield FacePatch(patch.frame_index, Box(0, 0, MARKER, MARKER), pixels)
        finally:
            self.closed_in.append(threading.get_ident())

    def _kept(self, speech: Iterable[SpeechChunk]) -> Iterator[SpeechChunk]:
        for chunk in speech:
            self.chunks.append(chunk)
            yield chunk


class TrackedEngine(CountingEngine):
    """Draws only where the source frame shows a face."""

    def prepare(self, track: FaceTrack, options: LipSyncOptions, progress: Progress) -> Any:
        return track

    def render(
        self, avatar: Any, speech: Iterable[SpeechChunk], options: LipSyncOptions
    ) -> Iterator[FacePatch]:
        for patch in super().render(avatar.fps, speech, options):
            if avatar.faces[avatar.shown(patch.frame_index)] is not None:
                yield patch


class FailingEngine(CountingEngine):
    def prepare(self, track: FaceTrack, options: LipSyncOptions, progress: Progress) -> Fraction:
        raise RenderFailed("it broke")


class HeldEngine(MarkingEngine):
    """Waits at its tenth frame until it is let go; may then fail."""

    def __init__(self, error: Exception | None = None) -> None:
        super().__init__()
        self.error = error
        self.reached = threading.Event()
        self.gate = threading.Event()

    def render(
        self, avatar: Fraction, speech: Iterable[SpeechChunk], options: LipSyncOptions
    ) -> Iterator[FacePatch]:
        for patch in super().render(avatar, speech, options):
            if patch.frame_index == 10:
                self.reached.set()
                assert self.gate.wait(30), "nobody opened the gate"
                if self.error:
                    raise self.error
            yield patch


class PreparedEngine(TrackedEngine):
    """Counts how often it prepares."""

    def __init__(self) -> None:
        self.num_prepared = 0

    def prepare(self, track: FaceTrack, options: LipSyncOptions, progress: Progress) -> Any:
        self.num_prepared += 1
        return super().prepare(track, options, progress)


def threads() -> list[str]:
    """The threads that a render has started and left behind."""
    return [each.name for each in threading.enumerate() if each.name.startswith(("draw", "decode"))]


class Road:
    """One render, and what was emitted."""

    def __init__(
        self,
        engine: CountingEngine,
        seconds: float = 1.0,
        options: LipSyncOptions = OPTIONS,
        face: bytes = PORTRAIT,
        speech: bytes | None = None,
        marks: tuple[PhonemeMark, ...] | None = None,
        file: Path | None = None,
        avatars: Avatars | None = None,
    ) -> None:
        self.records: list[Record] = []
        self.payloads: list[bytes] = []
        speech = wav(tone(seconds, 16_000), 16_000) if speech is None else speech
        request = RenderRequest(face, speech, options, marks)
        self.report: RenderReport = render(request, engine, self._emit, file, avatars=avatars)
        self.data = file.read_bytes() if file else b"".join(self.payloads)

    def _emit(self, record: Record, payload: bytes) -> None:
        self.records.append(record)
        self.payloads.append(payload)

    def pictures(self) -> list[Frame]:
        with av.open(io.BytesIO(self.data)) as video:
            return [frame.to_ndarray(format="bgr24") for frame in video.decode(video=0)]

    def numbers(self) -> list[int]:
        """The frame number that each frame of the video shows."""
        corners = [frame[8 : MARKER - 8, 8 : MARKER - 8].mean() for frame in self.pictures()]
        return [round((corner - 16) / 4) for corner in corners]


@pytest.mark.parametrize("as_file", [True, False])
def test_every_patch_is_shown_in_its_own_frame(as_file: bool, tmp_path: Path) -> None:
    road = Road(MarkingEngine(), 1.3, file=tmp_path / "video.mp4" if as_file else None)
    assert road.numbers() == list(range(32))
    assert road.report.num_frames == 32
    assert road.report.seconds == pytest.approx(1.28)


def test_frames_that_the_engine_leaves_out_pass_through_and_are_reported() -> None:
    road = Road(MarkingEngine(without=(0, 5, 6, 7, 24)))
    shown = road.numbers()
    assert [shown[index] for index in (1, 4, 8, 23)] == [1, 4, 8, 23]
    assert shown[5] != 5
    assert road.report.frames_without_face == (
        FrameRange(first=0, last=0),
        FrameRange(first=5, last=7),
        FrameRange(first=24, last=24),
    )


def test_records_come_in_their_order_and_the_engine_first() -> None:
    road = Road(CountingEngine())
    assert road.records[0] == EventRecord(name="engine", value="counting")
    assert next(r.stage for r in road.records if isinstance(r, ProgressRecord)) == "track"
    media = [r for r in road.records if isinstance(r, InitRecord | MediaRecord)]
    assert [record.seq for record in media] == list(range(len(media)))
    assert sum(r.seconds for r in media if isinstance(r, MediaRecord)) == pytest.approx(1.0)
    done = [r.done for r in road.records if isinstance(r, ProgressRecord) and r.stage == "render"]
    assert done == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])


def test_fragments_come_while_the_speech_is_still_being_taken() -> None:
    engine = MarkingEngine()
    heard_at_first: list[int] = []

    def emit(record: Record, payload: bytes) -> None:
        if isinstance(record, MediaRecord) and not heard_at_first:
            heard_at_first.append(sum(len(chunk.samples) for chunk in engine.chunks))

    speech = wav(tone(4.0, 16_000), 16_000)
    render(RenderRequest(PORTRAIT, speech, OPTIONS), engine, emit)
    assert heard_at_first[0] <= 16_000


def test_the_report_says_where_the_time_went() -> None:
    report = Road(CountingEngine()).report
    stages = ["decode", "track", "prepare", "render", "compose", "encode"]
    assert list(report.stage_seconds) == stages
    worked = [stage for stage in stages if report.stage_seconds[stage] > 0]
    assert set(worked) >= {"decode", "track", "render", "compose", "encode"}
    assert (report.engine, report.engine_version) == ("counting", "1")
    assert (report.width, report.height, report.fps) == (384, 384, 25)


def test_options_that_change_nothing_are_named() -> None:
    options = LipSyncOptions(max_height=384, seed=7, length_mode="bounce", fps=30)
    assert Road(CountingEngine(), options=options).report.ignored == ("length_mode", "seed")
    assert Road(CountingEngine()).report.ignored == ()


class LivelyEngine(CountingEngine):
    info = CountingEngine.info.model_copy(update={"options": ("motion", "seed")})


def test_what_moves_the_head_of_a_photo_changes_nothing_in_a_video() -> None:
    options = LipSyncOptions(max_height=384, seed=7, motion="still")
    assert Road(LivelyEngine(), 0.2, options=options).report.ignored == ()
    film = filmed([portrait()] * 2)
    assert Road(LivelyEngine(), 0.2, options, film).report.ignored == ("motion", "seed")


def test_warnings_about_the_face_reach_the_report() -> None:
    with av.open(io.BytesIO(PORTRAIT)) as portrait:
        frame = next(portrait.decode(video=0)).to_image()
    dark = frame.point(lambda level: level // 4)
    report = Road(CountingEngine(), 0.2, face=saved(dark, "PNG")).report
    assert any("dark" in warning for warning in report.warnings)


def test_marks_reach_the_engine() -> None:
    engine = MarkingEngine()
    marks = (PhonemeMark(start=0.1, end=0.2, phoneme="a"),)
    Road(engine, marks=marks)
    assert tuple(m for chunk in engine.chunks for m in chunk.marks or ()) == marks


def test_the_result_names_its_engine() -> None:
    with av.open(io.BytesIO(Road(CountingEngine(), 0.2).data)) as video:
        assert "AI-generated" in video.metadata["comment"]
        assert "counting 1" in video.metadata["comment"]


def test_a_kind_of_face_that_the_engine_can_not_animate_is_refused_before_any_work() -> None:
    video = media_file("mp4", video="libx264")
    with pytest.raises(
        FaceKindUnsupported, match="photos-only does not animate a video"
    ) as refused:
        Road(PhotoEngine(), face=video, speech=b"not even speech")
    assert "facewarp, wav2lip" in refused.value.hint


@pytest.mark.parametrize(
    ("face", "speech", "error"),
    [
        (saved(picture(256, 256), "PNG"), wav(tone(0.2), 48_000), NoFaceFound),
        (PORTRAIT, media_file("mp4", video="libx264"), SoundMissing),
    ],
)
def test_bad_input_is_named_and_leaves_no_file(
    face: bytes, speech: bytes, error: type[Exception], tmp_path: Path
) -> None:
    with pytest.raises(error):
        Road(CountingEngine(), face=face, speech=speech, file=tmp_path / "video.mp4")
    assert list(tmp_path.iterdir()) == []


def test_an_engine_that_fails_is_heard_of() -> None:
    with pytest.raises(RenderFailed, match="it broke"):
        Road(FailingEngine())


@pytest.mark.parametrize("stop_at", [2, 6, 10])
def test_a_caller_who_goes_stops_the_engine_in_its_own_thread(stop_at: int) -> None:
    engine = MarkingEngine()
    emitted = 0

    def emit(record: Record, payload: bytes) -> None:
        nonlocal emitted
        emitted += 1
        if emitted == stop_at:
            raise Cancelled("gone")

    speech = wav(tone(20.0, 16_000), 16_000)
    with pytest.raises(Cancelled):
        render(RenderRequest(PORTRAIT, speech, OPTIONS), engine, emit)
    assert len(engine.chunks) < 60
    assert len(engine.closed_in) == (1 if engine.iterated_in else 0)
    assert set(engine.iterated_in) >= set(engine.closed_in)
    assert threads() == []


def test_a_caller_who_goes_while_the_engine_works_leaves_nothing_running() -> None:
    engine = HeldEngine()

    def emit(record: Record, payload: bytes) -> None:
        if isinstance(record, MediaRecord):
            assert engine.reached.wait(30)
            # Opened a little later, by somebody who sees that the render waits for its engine.
            threading.Timer(0.1, engine.gate.set).start()
            raise Cancelled("gone")

    speech = wav(tone(20.0, 16_000), 16_000)
    with pytest.raises(Cancelled):
        render(RenderRequest(PORTRAIT, speech, OPTIONS), engine, emit)
    assert engine.gate.is_set()
    assert len(engine.closed_in) == 1
    assert threads() == []


@pytest.mark.parametrize("error", [RenderFailed("it broke"), ZeroDivisionError("a bug")])
def test_what_stops_the_engine_half_way_reaches_the_caller_as_it_is(error: Exception) -> None:
    engine = HeldEngine(error)
    engine.gate.set()
    emitted: list[Record] = []
    with pytest.raises(type(error)) as raised:
        render(
            RenderRequest(PORTRAIT, wav(tone(2.0, 16_000), 16_000), OPTIONS),
            engine,
            lambda record, _: emitted.append(record),
        )
    assert raised.value is error
    assert any(isinstance(record, MediaRecord) for record in emitted)
    assert threads() == []


def test_an_encoder_that_fails_stops_the_other_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = MarkingEngine()
    failure = OSError("the disk is full")

    def write(encoder: Encoder, pixels: Frame, changed: Box | None) -> list[Fragment]:
        raise failure

    monkeypatch.setattr(Encoder, "write", write)
    with pytest.raises(OSError, match="full") as raised:
        Road(engine, 20.0)
    assert raised.value is failure
    assert len(engine.closed_in) == 1
    assert len(engine.iterated_in) < 50
    assert threads() == []


def test_a_video_that_can_not_be_decoded_to_its_end_stops_the_other_stages(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = MarkingEngine()
    failure = UndecodableMedia("torn")

    def shown(source: FaceSource, timeline: Timeline) -> Iterator[Frame]:
        yield from islice(shown_frames(source, timeline), 5)
        raise failure

    monkeypatch.setattr("gpu_service.render.shown_frames", shown)
    with pytest.raises(UndecodableMedia) as raised:
        Road(engine, 20.0)
    assert raised.value is failure
    assert len(engine.closed_in) == 1
    assert threads() == []


def test_the_engine_does_not_run_away_from_the_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = MarkingEngine()
    ahead: list[int] = []
    write = Encoder.write

    def slow_write(encoder: Encoder, pixels: Frame, changed: Box | None) -> list[Fragment]:
        ahead.append(len(engine.iterated_in) - len(ahead))
        return write(encoder, pixels, changed)

    monkeypatch.setattr(Encoder, "write", slow_write)
    Road(engine, 8.0)
    assert len(ahead) == 200
    assert max(ahead) <= PATCHES_AHEAD + 2


def test_a_longer_clip_holds_no_more_pictures() -> None:
    def peak(seconds: float) -> int:
        speech = wav(tone(seconds, 16_000), 16_000)
        tracemalloc.start()
        try:
            request = RenderRequest(PORTRAIT, speech, OPTIONS)
            render(request, MarkingEngine(), lambda _record, _payload: None)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    short, long = peak(1.0), peak(9.0)
    sound = 8 * 16_000 * 8  # at most: its samples of 16 bits, and of 32 as the engine hears them
    assert long - short < sound + 2 * 384 * 384 * 3


class WanderingEngine(CountingEngine):
    """Draws noise of every size all over the picture, some of it translucent, and often nothing."""

    def render(
        self, avatar: Fraction, speech: Iterable[SpeechChunk], options: LipSyncOptions
    ) -> Iterator[FacePatch]:
        chance = np.random.default_rng(0)
        for patch in super().render(avatar, speech, options):
            x1, y1 = (int(edge) for edge in chance.integers(0, 300, 2))
            width, height = (int(side) for side in chance.integers(1, 84, 2))
            pixels = chance.integers(0, 256, (height, width, 3), np.uint8)
            alpha = chance.integers(0, 256, (height, width), np.uint8)
            if patch.frame_index % 7 > 2:
                box = Box(x1, y1, x1 + width, y1 + height)
                is_opaque = chance.random() < 0.5
                yield FacePatch(patch.frame_index, box, pixels, None if is_opaque else alpha)


@pytest.mark.parametrize(
    ("kind", "file"), [("photo", None), ("photo", "video.mp4"), ("video", None)]
)
def test_what_is_known_to_have_changed_saves_work_and_changes_no_bit_of_the_video(
    kind: str, file: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    face, path = PORTRAIT if kind == "photo" else FILM, tmp_path / file if file else None
    road = Road(WanderingEngine(), 2.0, face=face, file=path)
    areas: list[int] = []
    write = Encoder.write

    def write_all(encoder: Encoder, pixels: Frame, changed: Box | None) -> list[Fragment]:
        areas.append(pixels[..., 0].size if changed is None else changed.width * changed.height)
        return write(encoder, pixels.copy())

    monkeypatch.setattr(Encoder, "write", write_all)
    assert Road(WanderingEngine(), 2.0, face=face, file=path).data == road.data
    assert len(areas) == 50
    if kind == "photo":
        assert sum(area == 384 * 384 for area in areas) == 1
        assert 0 in areas
    else:
        assert set(areas) == {384 * 384}


FILM = filmed([portrait()] * 6 + [np.full_like(portrait(), 128)] * 4)
"""Ten frames, of which the last four show no face."""


@pytest.mark.parametrize("stage", ["track", "render"])
def test_a_caller_who_goes_while_a_video_is_decoded_leaves_nothing_running(stage: str) -> None:
    def emit(record: Record, payload: bytes) -> None:
        if isinstance(record, ProgressRecord) and record.stage == stage and record.done:
            assert threads() != []
            raise Cancelled("gone")

    with pytest.raises(Cancelled) as raised:
        render(RenderRequest(FILM, wav(tone(2.0), 48_000), OPTIONS), TrackedEngine(), emit)
    assert threads() == []
    assert raised.traceback  # holds what was going on, and so what an iterator left open would hold


@pytest.mark.parametrize(
    ("mode", "num_frames", "faceless"),
    [
        ("loop", 25, [(6, 9), (16, 19)]),
        ("bounce", 25, [(6, 12), (24, 24)]),
        ("cut_off", 10, [(6, 9)]),
        ("silence", 25, [(6, 24)]),
        ("remap", 25, [(15, 24)]),
    ],
)
def test_a_video_is_as_long_as_its_length_mode_says_and_frames_without_a_face_pass_through(
    mode: str, num_frames: int, faceless: list[tuple[int, int]]
) -> None:
    options = LipSyncOptions.model_validate({"max_height": 384, "length_mode": mode})
    road = Road(TrackedEngine(), options=options, face=FILM)
    assert road.report.num_frames == len(road.numbers()) == num_frames
    found = [(each.first, each.last) for each in road.report.frames_without_face]
    assert found == faceless
    assert road.report.ignored == ()
    with av.open(io.BytesIO(road.data)) as video:
        sound = sum(frame.samples for frame in video.decode(audio=0)) / 48_000
    assert sound == pytest.approx(num_frames / 25, abs=0.05)
    grey = [index for first, last in faceless for index in range(first, last + 1)]
    for index, pixels in enumerate(road.pictures()):
        assert (pixels[200:].std() < 8) == (index in grey)


def test_silence_lets_a_longer_video_play_on() -> None:
    options = LipSyncOptions(max_height=384, length_mode="silence")
    road = Road(CountingEngine(), 0.2, options=options, face=FILM)
    assert road.report.num_frames == 10
    assert road.report.seconds == pytest.approx(0.4)


def test_a_face_that_speaks_again_is_neither_found_nor_prepared_again() -> None:
    engine, avatars = PreparedEngine(), Avatars(10_000_000)
    first = Road(engine, avatars=avatars)
    again = Road(engine, avatars=avatars)
    longer = Road(engine, 2.0, avatars=avatars)
    assert engine.num_prepared == 1
    assert first.report.stage_seconds["track"] > 0
    for road in (again, longer):
        assert road.report.stage_seconds["track"] == road.report.stage_seconds["prepare"] == 0
    assert again.data == first.data
    assert longer.data == Road(PreparedEngine(), 2.0).data
    assert again.report.warnings == first.report.warnings


@pytest.mark.parametrize("engine", [FacewarpEngine(), CountingEngine()])
def test_a_kept_avatar_draws_the_same_frames_also_for_renders_at_once(
    engine: CountingEngine,
) -> None:
    avatars, seconds = Avatars(10_000_000), (0.5, 1.0, 0.7, 0.5)
    with ThreadPoolExecutor(4) as at_once:
        roads = list(at_once.map(lambda each: Road(engine, each, avatars=avatars), seconds))
    for road, each in zip(roads, seconds, strict=True):
        assert road.data == Road(engine, each).data
    assert sum(road.report.stage_seconds["track"] > 0 for road in roads) == 1


@pytest.mark.parametrize("mode", ["loop", "bounce", "cut_off", "silence", "remap"])
def test_a_video_with_a_kept_avatar_shows_the_same_frames(mode: str) -> None:
    options = LipSyncOptions.model_validate({"max_height": 384, "length_mode": mode})
    engine, avatars = PreparedEngine(), Avatars(10_000_000)
    for seconds in (0.24, 0.8, 0.6, 0.24, 0.8):
        road = Road(engine, seconds, options, FILM, avatars=avatars)
        alone = Road(TrackedEngine(), seconds, options, FILM)
        assert road.report.frames_without_face == alone.report.frames_without_face
        assert road.data == alone.data
    assert engine.num_prepared == {"silence": 1, "remap": 3}.get(mode, 2)


def test_options_that_shape_the_avatar_have_it_made_anew() -> None:
    engine, avatars = PreparedEngine(), Avatars(10_000_000)
    for changed in ({}, {"max_height": 300}, {"fps": 30}, {"face": "0"}, {"seed": 5}):
        options = OPTIONS.model_copy(update=changed)
        assert Road(engine, 0.2, options, avatars=avatars).data == Road(engine, 0.2, options).data
    # With and without being kept; the seed changes nothing of this engine.
    assert engine.num_prepared == 4 + 5


def test_another_seed_moves_the_same_avatar() -> None:
    engine: Any = FacewarpEngine()
    avatars = Avatars(10_000_000)
    roads = [
        Road(engine, 0.4, OPTIONS.model_copy(update={"seed": seed}), avatars=avatars)
        for seed in (1, 2)
    ]
    assert [road.report.stage_seconds["prepare"] > 0 for road in roads] == [True, False]
    assert roads[0].data != roads[1].data
