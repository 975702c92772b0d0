"""Faces that are found and prepared once."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from tempfile import SpooledTemporaryFile
from typing import Any

import numpy as np
import pytest

from contracts.errors import Cancelled, RenderFailed
from contracts.lipsync import LipSyncOptions
from gpu_service.avatars import AvatarKey, Avatars, Prepared, num_bytes
from gpu_service.data import no_progress
from gpu_service.engines.facewarp.engine import FacewarpEngine
from gpu_service.faces.track import track_faces
from gpu_service.media.decode import decode_face
from gpu_service.timeline import output_fps
from tests.fakes.engine import CountingEngine
from tests.media import SAMPLES

ENGINE = CountingEngine()
KEY = AvatarKey("face", ENGINE, (("fps", 25.0),))
PLENTY = 1_000_000


class Other(CountingEngine):
    info = CountingEngine.info.model_copy(update={"name": "other"})


class Making:
    """Makes avatars of as many source frames as there are, and counts them."""

    def __init__(self, num_source_frames: int = 1, size: int = 100) -> None:
        self.num_source_frames = num_source_frames
        self.size = size
        self.count = 0

    def of(self, needed: int | None) -> Callable[[], Prepared]:
        def make() -> Prepared:
            self.count += 1
            frames = min(self.num_source_frames, needed or self.num_source_frames)
            return Prepared(bytes(self.size), frames, ())

        return make


def get(
    avatars: Avatars, making: Making, needed: int | None = 25, key: AvatarKey = KEY
) -> Prepared:
    return avatars.get(key, needed, making.of(needed), lambda: None)


def test_the_same_face_is_prepared_once() -> None:
    avatars, making = Avatars(PLENTY), Making()
    first = get(avatars, making)
    assert get(avatars, making) is first
    assert get(avatars, making, needed=300) is first
    assert making.count == 1


@pytest.mark.parametrize(
    "other",
    [
        KEY._replace(face_sha256="another"),
        KEY._replace(engine=CountingEngine()),
        KEY._replace(options=(("fps", 30.0),)),
        KEY._replace(num_frames=7),
    ],
)
def test_another_face_engine_or_option_is_another_avatar(other: AvatarKey) -> None:
    avatars, making = Avatars(PLENTY), Making()
    assert get(avatars, making) is not get(avatars, making, key=other)
    assert making.count == 2


def test_a_video_is_prepared_again_only_where_other_frames_of_it_count() -> None:
    avatars, making = Avatars(PLENTY), Making(num_source_frames=100)
    lengths: list[int | None] = [50, 60, 50, 60, 101, 100, 500, None, 99, 50]
    for needed in lengths:
        wanted = 100 if needed is None else min(needed, 100)
        assert get(avatars, making, needed).num_source_frames == wanted
    assert making.count == 4  # of 50, 60 and 99 frames, and whole


def test_an_engine_that_was_loaded_anew_pushes_out_what_the_old_one_made() -> None:
    avatars, making = Avatars(PLENTY), Making()
    old, new, other = (
        KEY._replace(engine=engine) for engine in (CountingEngine(), CountingEngine(), Other())
    )
    kept, dropped = get(avatars, making, key=other), get(avatars, making, key=old)
    get(avatars, making, key=new)
    assert get(avatars, making, key=old) is not dropped
    assert get(avatars, making, key=other) is kept


def test_avatars_stay_within_the_budget() -> None:
    avatars, making = Avatars(2500), Making(size=1000)
    keys = [KEY._replace(face_sha256=name) for name in "abc"]
    for key in keys:
        get(avatars, making, key=key)
    get(avatars, making, key=keys[2])
    assert making.count == 3
    get(avatars, making, key=keys[0])
    assert making.count == 4
    none = Avatars(0)
    assert get(none, making) is not get(none, making)


def test_renders_that_come_while_it_is_made_wait_for_it() -> None:
    avatars, gate, begun, waiting = Avatars(PLENTY), *(threading.Event() for _ in range(3))
    made: list[int] = []

    def make() -> Prepared:
        made.append(1)
        begun.set()
        assert gate.wait(30)
        return Prepared(b"", 1, ())

    with ThreadPoolExecutor(8) as threads:
        first = threads.submit(avatars.get, KEY, 25, make, waiting.set)
        assert begun.wait(30)
        others = [threads.submit(avatars.get, KEY, 25 + n, make, waiting.set) for n in range(7)]
        assert waiting.wait(30)
        gate.set()
        assert {id(each.result()) for each in others} == {id(first.result())}
    assert made == [1]


def test_a_render_that_is_stopped_while_it_waits_goes_at_once() -> None:
    avatars, gate, begun = Avatars(PLENTY), threading.Event(), threading.Event()

    def make() -> Prepared:
        begun.set()
        assert gate.wait(30)
        return Prepared(b"", 1, ())

    def stopped() -> None:
        raise Cancelled("gone")

    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(avatars.get, KEY, 25, make, lambda: None)
        assert begun.wait(30)
        with pytest.raises(Cancelled):
            avatars.get(KEY, 25, make, stopped)
        gate.set()
        assert first.result().num_source_frames == 1


def test_what_could_not_be_made_is_tried_again_by_the_next() -> None:
    avatars, making = Avatars(PLENTY), Making()

    def fail() -> Prepared:
        raise RenderFailed("it broke")

    for _ in range(2):
        with pytest.raises(RenderFailed):
            avatars.get(KEY, 25, fail, lambda: None)
    assert get(avatars, making).num_source_frames == 1


class Part:
    def __init__(self, value: Any) -> None:
        self.value = value


def test_arrays_bytes_and_files_in_memory_count_wherever_they_hang() -> None:
    array = np.zeros(100_000, np.uint8)
    file = SpooledTemporaryFile(max_size=PLENTY)  # noqa: SIM115
    file.write(bytes(100_000))
    for value in (
        array,
        array[:10],
        np.frombuffer(bytes(100_000), np.uint8)[5:6],
        bytes(100_000),
        bytearray(100_000),
        [Part({"deep": (array, array[3:], array)})],
        Prepared(array, 1, ()),
        file,
    ):
        assert 100_000 <= num_bytes(value) < 105_000
    file.close()


def test_what_is_there_anyway_does_not_count() -> None:
    network = np.zeros(100_000, np.uint8)
    engine, avatar = Part({"network": network}), Part([network, np.zeros(1000, np.uint8)])
    assert 1000 <= num_bytes(avatar, engine) < 2000
    assert num_bytes(Part(np), Part) < 1000


def test_a_portraits_avatar_is_measured_as_it_is() -> None:
    source = decode_face((SAMPLES / "portrait.jpg").read_bytes(), 512)
    options, engine = LipSyncOptions(), FacewarpEngine()
    track = track_faces(source, output_fps(source, options), options, no_progress)
    avatar = engine.prepare(track, options, no_progress)
    assert 2_000_000 < num_bytes(avatar, engine) < 4_000_000
