"""Telling cuts from what moves in a picture."""

import numpy as np

from gpu_service.data import Frame
from gpu_service.faces.scenes import Change, Scenes

RAMP = np.repeat(np.tile(np.linspace(20, 60, 320), (180, 1))[..., np.newaxis], 3, axis=2)


def looks(*frames: Frame) -> list[Change]:
    scenes = Scenes()
    return [scenes.look(frame.astype(np.uint8)) for frame in frames]


def test_another_picture_is_a_cut_also_where_both_are_dim() -> None:
    assert looks(RAMP, 255 - RAMP, 255 - RAMP) == [Change.NONE, Change.CUT, Change.NONE]
    assert looks(RAMP, RAMP, 80 - RAMP) == [Change.NONE, Change.NONE, Change.CUT]


def test_what_changes_at_once_in_a_part_of_the_picture_is_sudden_only() -> None:
    changed = RAMP.copy()
    changed[40:140, 60:140] = 180
    assert looks(RAMP, RAMP, changed)[-1] is Change.SUDDEN


def test_a_camera_that_shakes_cuts_nothing_once_it_is_known_to_shake() -> None:
    shaken = [np.roll(RAMP, 60 * (index % 2), axis=1) for index in range(20)]
    assert Change.CUT in looks(*[RAMP] * 8, *shaken)
    assert set(looks(*shaken)[8:]) == {Change.NONE}
