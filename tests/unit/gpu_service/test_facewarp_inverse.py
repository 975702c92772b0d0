"""Where the picture of each node comes from."""

import cv2
import numpy as np
import pytest

from gpu_service.engines.facewarp.portrait import build_portrait
from gpu_service.engines.facewarp.renderer import Renderer
from gpu_service.engines.facewarp.shape import MouthShape
from gpu_service.engines.facewarp.warp.geometry import Floats
from gpu_service.engines.facewarp.warp.inverse import inverse
from gpu_service.faces.detect import find_face
from tests.media import portrait


def nodes(rows: int, columns: int) -> Floats:
    x, y = np.arange(columns, dtype=np.float32), np.arange(rows, dtype=np.float32)
    return np.stack(np.meshgrid(x, y), axis=-1)


def miss(field: Floats, source: Floats, goal: Floats) -> Floats:
    """How far from its goal each place arrives, in nodes."""
    moved = cv2.remap(field, source[..., 0], source[..., 1], cv2.INTER_LINEAR)
    return np.asarray(np.linalg.norm(source + moved - goal, axis=-1))


def test_a_shift_comes_from_the_other_side() -> None:
    goal = nodes(20, 30)
    field = np.full_like(goal, 2.0)
    source = inverse(field, goal, (slice(5, 15), slice(5, 25)))
    np.testing.assert_allclose(source[5:15, 5:25], goal[5:15, 5:25] - 2, atol=1e-4)


@pytest.mark.parametrize(
    "shape",
    [
        MouthShape(1.0, 0.0, 0.0, 0.0, 0.0),
        MouthShape(0.7, 0.1, 0.0, 0.0, 0.0),
        MouthShape(0.3, -0.4, 1.0, 0.0, 0.0),
        MouthShape(0.0, 0.0, 0.0, 1.0, 0.0),
    ],
    ids=["wide", "a", "o", "m"],
)
def test_what_a_mouths_fields_move_is_found_again(shape: MouthShape) -> None:
    built = build_portrait(portrait(), find_face(portrait()))
    coeffs = Renderer(built).coeffs(shape)
    area = built.area
    steep = (
        slice(area.first_row, area.first_row + area.rows),
        slice(area.first_column, area.first_column + area.columns),
    )
    goal = nodes(built.grid.rows, built.grid.columns)
    for fields in (built.upper_fields, built.lower_fields):
        field = (np.tensordot(coeffs, fields, 1) / built.grid.cell).astype(np.float32)
        assert miss(field, inverse(field, goal, steep), goal).max() < 0.3


@pytest.mark.parametrize("squeeze", [1.0, 1.5, 3.0], ids=["to a line", "folded", "turned over"])
def test_where_a_field_folds_the_picture_what_is_found_stays_near(squeeze: float) -> None:
    """No place goes to most goals then; steps without bounds would end in nothing or far away."""
    goal = nodes(20, 30)
    field = np.zeros_like(goal)
    field[..., 0] = squeeze * (15 - goal[..., 0])
    source = inverse(field, goal, (slice(0, 20), slice(0, 30)))
    assert np.isfinite(source).all()
    assert np.abs(source - goal).max() < 100


def test_places_that_lie_beyond_the_grid_stay_as_they_are() -> None:
    goal = nodes(20, 30) + np.float32(1000)
    field = np.full_like(goal, 2.0)
    np.testing.assert_allclose(inverse(field, goal, (slice(5, 15), slice(5, 25))), goal)
