"""Dense fields that follow a few points."""

import numpy as np
import pytest

from gpu_service.engines.facewarp.warp.fields import Controls, Grid, solve_fields

GRID = Grid(x=-4, y=10, cell=2, columns=40, rows=30)
REACH = np.zeros((30, 40), bool)
REACH[3:-3, 4:-4] = True


def controls(*pulls: tuple[float, float, float, float]) -> Controls:
    """One basis; each pull is x, y and how far it goes there."""
    table = np.array(pulls, np.float32).reshape(-1, 4)
    return Controls(table[:, :2], np.full(len(table), 40, np.float32), table[:, None, 2:])


def at(field: np.ndarray, x: float, y: float) -> np.ndarray:
    column, row = np.rint(GRID.nodes(np.array([x, y], np.float32))).astype(int)
    return field[row, column]


def test_nodes_lie_in_the_middle_of_their_cells() -> None:
    pixels = GRID.pixels()
    assert pixels.shape == (30, 40, 2)
    np.testing.assert_allclose(pixels[0, 0], (-3.5, 10.5))
    np.testing.assert_allclose(GRID.nodes(pixels)[7, 5], (5, 7), atol=1e-5)


def test_the_field_follows_its_controls_and_is_still_outside_its_reach() -> None:
    field = solve_fields(GRID, REACH, controls((30.5, 40.5, 3, -2), (46.5, 40.5, 0, 0)))[0]
    np.testing.assert_allclose(at(field, 30.5, 40.5), (3, -2), atol=0.15)
    np.testing.assert_allclose(at(field, 46.5, 40.5), (0, 0), atol=0.15)
    assert not field[~REACH].any()


def test_the_field_is_smooth() -> None:
    field = solve_fields(GRID, REACH, controls((36.5, 40.5, 4, 0)))[0][..., 0]
    steps = np.abs(np.diff(field, axis=1))
    assert steps.max() < 0.8
    assert field.max() == pytest.approx(4, abs=0.3)


def test_bases_are_solved_apart() -> None:
    points = np.array([[30.5, 40.5]], np.float32)
    moves = np.array([[[1, 0], [0, 2]]], np.float32)
    fields = solve_fields(GRID, REACH, Controls(points, np.array([40.0]), moves))
    assert fields.shape == (2, 30, 40, 2)
    assert not fields[0, ..., 1].any()
    assert not fields[1, ..., 0].any()


def test_controls_beyond_the_grid_and_an_empty_reach_are_harmless() -> None:
    pulls = controls((500, 500, 9, 9), (-80, 0, 9, 9))
    assert not solve_fields(GRID, REACH, pulls).any()
    nowhere = np.zeros_like(REACH)
    assert not solve_fields(GRID, nowhere, controls((30.5, 40.5, 3, 3))).any()
