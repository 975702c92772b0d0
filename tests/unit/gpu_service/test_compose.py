"""Patches on frames."""

from collections.abc import Iterator

import numpy as np
import pytest

from gpu_service.compose import Canvas, compose
from gpu_service.data import Box, FacePatch, Frame

FRAME = np.random.default_rng(0).integers(0, 256, (12, 10, 3), np.uint8)
BOX = Box(2, 3, 6, 8)
PIXELS = np.random.default_rng(1).integers(0, 256, (5, 4, 3), np.uint8)


def test_a_patch_without_alpha_replaces_its_box_and_nothing_else() -> None:
    before = FRAME.copy()
    composed = compose(FRAME, FacePatch(0, BOX, PIXELS))
    assert np.array_equal(composed[3:8, 2:6], PIXELS)
    composed[3:8, 2:6] = before[3:8, 2:6]
    assert np.array_equal(composed, before)
    assert np.array_equal(FRAME, before)


def test_alpha_mixes_frame_and_patch() -> None:
    alpha = np.tile(np.array([0, 85, 170, 255], np.uint8), (5, 1))
    composed = compose(FRAME, FacePatch(0, BOX, PIXELS, alpha))[3:8, 2:6].astype(float)
    share = alpha[..., np.newaxis] / 255
    exact = PIXELS * share + FRAME[3:8, 2:6] * (1 - share)
    assert np.abs(composed - exact).max() <= 0.5 + 1e-9
    assert np.array_equal(composed[:, 0], FRAME[3:8, 2])
    assert np.array_equal(composed[:, 3], PIXELS[:, 3])


def test_white_on_white_stays_white_however_it_is_mixed() -> None:
    white = np.full((1, 256, 3), 255, np.uint8)
    alpha = np.arange(256, dtype=np.uint8)[np.newaxis]
    assert (compose(white, FacePatch(0, Box(0, 0, 256, 1), white, alpha)) == 255).all()


def patches(count: int) -> Iterator[FacePatch | None]:
    """Patches of any size, one in three of them translucent, and now and then none."""
    chance = np.random.default_rng(2)
    box = BOX
    for index in range(count):
        if index % 4:  # the others stay where the one before was
            x1, y1 = (int(edge) for edge in chance.integers(0, 8, 2))
            box = Box(x1, y1, int(chance.integers(x1 + 1, 11)), int(chance.integers(y1 + 1, 13)))
        shape = (box.height, box.width)
        pixels = chance.integers(0, 256, (*shape, 3), np.uint8)
        alpha = chance.integers(0, 256, shape, np.uint8) if index % 3 == 0 else None
        yield FacePatch(index, box, pixels, alpha) if index % 5 else None


@pytest.mark.parametrize("shown_for", [1, 2, 7, 60], ids="each frame is shown {} times".format)
def test_a_canvas_shows_what_copies_would_and_knows_what_changed(shown_for: int) -> None:
    chance = np.random.default_rng(3)
    frames = [chance.integers(0, 256, (12, 10, 3), np.uint8) for _ in range(60)]
    originals = [frame.copy() for frame in frames]
    canvas = Canvas()
    before: Frame | None = None
    areas: list[int] = []
    for index, patch in enumerate(patches(60)):
        frame = frames[index // shown_for]
        shown, changed = canvas.show(frame, patch)
        assert np.array_equal(shown, compose(frame, patch) if patch else frame)
        assert (changed is None) == (index % shown_for == 0)
        if changed is not None and before is not None:
            differs = (shown != before).any(axis=2)
            differs[changed.y1 : changed.y2, changed.x1 : changed.x2] = False
            assert not differs.any()
            areas.append(changed.width * changed.height)
        before = shown.copy()
    assert all(map(np.array_equal, frames, originals))
    assert shown_for == 1 or min(areas) < 60 < max(areas)


def test_a_patch_that_stays_in_its_place_changes_no_more_than_its_box() -> None:
    canvas = Canvas()
    canvas.show(FRAME, None)
    changes = [canvas.show(FRAME, FacePatch(index, BOX, PIXELS))[1] for index in range(3)]
    assert changes == [BOX] * 3
    assert canvas.show(FRAME, None)[1] == BOX
    assert canvas.show(FRAME, None)[1] == Box(0, 0, 0, 0)


def test_a_photo_is_copied_once_and_without_patches_never() -> None:
    canvas = Canvas()
    assert canvas.show(FRAME, None)[0] is FRAME
    first, _ = canvas.show(FRAME, FacePatch(1, BOX, PIXELS))
    assert not np.shares_memory(first, FRAME)
    for patch in patches(20):
        assert canvas.show(FRAME, patch)[0] is first
