"""Frames in the order in which a dubbed video shows them."""

from collections.abc import Iterator
from itertools import chain

import pytest

from gpu_service.data import Frame
from gpu_service.engines.facewarp.dub import footage as footage_module
from gpu_service.engines.facewarp.dub.footage import Footage
from tests.media import Film, number_of, numbered

NUM_FRAMES = 20
FRAMES = [numbered(number) for number in range(NUM_FRAMES)]
FRAME_BYTES = FRAMES[0].nbytes


class Watched(Film):
    """Counts what is decoded, and what is still being decoded."""

    def __init__(self) -> None:
        super().__init__(*FRAMES)
        self.num_decoded = self.num_open = 0

    def frames(self, first: int = 0) -> Iterator[Frame]:
        self.num_open += 1
        try:
            for frame in super().frames(first):
                self.num_decoded += 1
                yield frame
        finally:
            self.num_open -= 1


@pytest.mark.parametrize(
    "order",
    [
        list(range(NUM_FRAMES)),
        [*range(NUM_FRAMES)] * 2,
        [*range(NUM_FRAMES), *range(NUM_FRAMES - 2, -1, -1), *range(1, NUM_FRAMES)],
        [0, 0, 0, 1, 1, 3, 3, 7],
        [5, 19, 19, 2, 3, 2, 1, 0, 0, 18],
    ],
)
def test_any_order_gives_the_frames_of_the_video(order: list[int]) -> None:
    with Footage(Film(*FRAMES)) as footage:
        shown = [footage.frame(index) for index in order]
    assert [number_of(frame) for frame in shown if frame is not None] == order


def test_a_video_that_is_shown_backwards_is_decoded_a_stretch_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(footage_module, "BACKWARD_BYTES", 5 * FRAME_BYTES)
    source = Watched()
    with Footage(source) as footage:
        for index in chain(range(NUM_FRAMES), range(NUM_FRAMES - 2, -1, -1)):
            assert footage.frame(index) is not None
    # Stretches overlap by no frame.
    assert source.num_decoded <= 2 * NUM_FRAMES


def test_a_pass_forwards_decodes_each_frame_once() -> None:
    source = Watched()
    with Footage(source) as footage:
        for index in (*range(NUM_FRAMES), NUM_FRAMES - 1, NUM_FRAMES - 1):
            footage.frame(index)
    assert source.num_decoded == NUM_FRAMES


def test_no_decoder_is_left_open() -> None:
    source = Watched()
    with Footage(source) as footage:
        for index in (3, 4, 1, 0, 9):
            footage.frame(index)
        assert source.num_open == 1
    assert source.num_open == 0


def test_beyond_the_end_there_is_no_frame() -> None:
    with Footage(Film(*FRAMES)) as footage:
        assert footage.frame(NUM_FRAMES) is None
        assert footage.frame(2) is not None
