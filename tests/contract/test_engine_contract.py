"""What every engine must hold to, whatever it draws."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from contracts.lipsync import LipSyncOptions
from gpu_service.data import (
    SPEECH_RATE,
    FacePatch,
    Samples,
    SpeechChunk,
    no_progress,
    num_frames,
)
from gpu_service.engines.base import Engine
from gpu_service.engines.registry import Engines, engines_for
from gpu_service.engines.wav2lip.engine import Wav2LipEngine
from gpu_service.faces.track import track_faces
from gpu_service.media.decode import decode_face
from tests.fakes.engine import CountingEngine
from tests.fakes.generator import FakeGenerators, installed
from tests.media import (
    SAMPLES,
    Counted,
    babble,
    cut,
    filmed,
    marks_of,
    portrait,
    scaled,
    silence,
    turned,
)

OPTIONS = LipSyncOptions(motion="still", max_height=384)
FPS = Fraction(25)
LONGEST_LOOK_AHEAD = 0.3


class Prepared(NamedTuple):
    engine: Engine[Any]
    avatar: Any
    options: LipSyncOptions
    width: int
    height: int

    def render(self, speech: Iterable[SpeechChunk]) -> Iterator[FacePatch]:
        return self.engine.render(self.avatar, speech, self.options)


def engine_named(name: str, folder: Path) -> Engine[Any]:
    if name == CountingEngine.info.name:
        return CountingEngine()
    if name == Wav2LipEngine.info.name:
        # The true network takes 35 ms a frame; test_wav2lip.py renders with it.
        return Wav2LipEngine(installed(folder, "wav2lip"), load=FakeGenerators().load)
    return Engines(order=(name,)).resolve(name)


EVERY_FACE = [
    *((name, "photo") for name in (CountingEngine.info.name, *engines_for("photo"))),
    *((name, "video") for name in (CountingEngine.info.name, *engines_for("video"))),
    ("facewarp", "photo of a moving head"),
]


@pytest.fixture(scope="module")
def faces() -> dict[str, bytes]:
    """A photo, and a video of 12 frames in which the head tilts."""
    film = [turned(scaled(portrait(), 0.75), 6 * np.sin(index / 2)) for index in range(12)]
    return {"photo": (SAMPLES / "portrait.jpg").read_bytes(), "video": filmed(film)}


@pytest.fixture(scope="module", params=EVERY_FACE, ids=lambda each: " with a ".join(each))
def prepared(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    faces: dict[str, bytes],
) -> Prepared:
    name, described = request.param
    kind, *lively = described.split(maxsplit=1)
    options = OPTIONS.model_copy(update={"motion": "natural"}) if lively else OPTIONS
    engine = engine_named(name, tmp_path_factory.mktemp("weights"))
    source = decode_face(faces[kind], options.max_height)
    assert source.kind == kind
    track = track_faces(source, FPS, options, no_progress)
    avatar = engine.prepare(track, options, no_progress)
    return Prepared(engine, avatar, options, source.width, source.height)


@pytest.fixture(scope="module")
def speech() -> Samples:
    return np.concatenate((babble(1.2), silence(0.4)))


@pytest.fixture(
    params=[None, marks_of(("p", 0.05), ("a", 0.2), ("m", 0.08), ("u", 0.3), ("s", 0.1))],
    ids=["by ear", "by marks"],
)
def chunk(request: pytest.FixtureRequest, speech: Samples) -> SpeechChunk:
    return SpeechChunk(speech, request.param)


def assert_same_patches(patches: list[FacePatch], expected: list[FacePatch]) -> None:
    assert len(patches) == len(expected)
    for patch, other in zip(patches, expected, strict=True):
        assert (patch.frame_index, patch.box) == (other.frame_index, other.box)
        np.testing.assert_array_equal(patch.pixels, other.pixels)
        assert (patch.alpha is None) == (other.alpha is None)
        if patch.alpha is not None and other.alpha is not None:
            np.testing.assert_array_equal(patch.alpha, other.alpha)


def test_frames_do_not_depend_on_how_the_speech_is_cut(
    prepared: Prepared, chunk: SpeechChunk
) -> None:
    whole = list(prepared.render([chunk]))
    fortieth = len(chunk.samples) // 40 + 1
    assert_same_patches(list(prepared.render(cut(chunk, [fortieth]))), whole)
    assert_same_patches(list(prepared.render(cut(chunk, [1, 37, 160, 401, 3, 1999]))), whole)


def test_the_same_speech_twice_gives_the_same_frames(prepared: Prepared, speech: Samples) -> None:
    once = list(prepared.render([SpeechChunk(speech)]))
    assert_same_patches(list(prepared.render([SpeechChunk(speech)])), once)


def test_two_renders_at_once_do_not_disturb_each_other(prepared: Prepared, speech: Samples) -> None:
    alone = list(prepared.render([SpeechChunk(speech)]))
    other = prepared.render([SpeechChunk(babble(1.6, seed=1))])
    together = [
        patch for patch, _ in zip(prepared.render([SpeechChunk(speech)]), other, strict=True)
    ]
    assert_same_patches(together, alone)


def test_one_avatar_serves_several_threads_at_once(prepared: Prepared, speech: Samples) -> None:
    speeches = [speech, babble(1.6, seed=1), silence(1.6), speech]

    def rendered(samples: Samples) -> list[FacePatch]:
        return list(prepared.render([SpeechChunk(samples)]))

    alone = [rendered(samples) for samples in speeches]
    with ThreadPoolExecutor(len(speeches)) as threads:
        together = list(threads.map(rendered, speeches))
    for patches, expected in zip(together, alone, strict=True):
        assert_same_patches(patches, expected)


def test_a_frame_comes_as_soon_as_its_look_ahead_was_taken(
    prepared: Prepared, chunk: SpeechChunk
) -> None:
    assert prepared.engine.info.look_ahead_seconds <= LONGEST_LOOK_AHEAD
    step = 80
    counted = Counted(cut(chunk, [step]))
    for patch in prepared.render(counted):
        look_ahead = counted.num_samples / SPEECH_RATE - patch.frame_index / FPS
        assert look_ahead <= prepared.engine.info.look_ahead_seconds + step / SPEECH_RATE


@pytest.mark.parametrize("num_samples", [0, 1, 800, 16_000, 17_333])
def test_there_are_as_many_frames_as_the_speech_is_long(
    prepared: Prepared, num_samples: int
) -> None:
    samples = babble(1.2)[:num_samples]
    indexes = [patch.frame_index for patch in prepared.render([SpeechChunk(samples)])]
    assert all(earlier < later for earlier, later in pairwise(indexes))
    assert max(indexes, default=0) == num_frames(num_samples, FPS) - 1


def test_silence_keeps_giving_frames(prepared: Prepared) -> None:
    patches = prepared.render(SpeechChunk(silence(0.1)) for _ in range(10**6))
    indexes = [next(patches).frame_index for _ in range(30)]
    assert indexes == list(range(30))


def test_patches_lie_within_the_picture_and_fill_their_box(
    prepared: Prepared, speech: Samples
) -> None:
    for patch in prepared.render([SpeechChunk(speech)]):
        box = patch.box
        assert 0 <= box.x1 < box.x2 <= prepared.width
        assert 0 <= box.y1 < box.y2 <= prepared.height
        assert patch.pixels.shape == (box.height, box.width, 3)
        assert patch.pixels.dtype == np.uint8


def test_a_render_may_be_closed_half_way(prepared: Prepared, speech: Samples) -> None:
    undisturbed = list(prepared.render([SpeechChunk(speech)]))
    counted = Counted(cut(SpeechChunk(speech), [1600]))
    patches = prepared.render(counted)
    next(patches)
    patches.close()  # type: ignore[attr-defined]
    assert counted.num_samples < len(speech)
    assert_same_patches(list(prepared.render([SpeechChunk(speech)])), undisturbed)
