"""Skin continued over an eye."""

import numpy as np
import pytest

from gpu_service.engines.facewarp.life.lid_skin import continued_skin, grain, shaded

HEIGHT, WIDTH = 60, 80
V, U = np.meshgrid(
    np.linspace(-1.2, 0.8, HEIGHT, dtype=np.float32),
    np.linspace(-1.4, 1.4, WIDTH, dtype=np.float32),
    indexing="ij",
)
HOLE = (np.abs(V) < 0.4) & (np.abs(U) < 1)
SKIN = np.array((110, 140, 190))


def face() -> np.ndarray:
    """Skin that grows darker to the right, with a bright eye in it."""
    light = 1 - 0.1 * U[..., None]
    return np.where(HOLE[..., None], 255, SKIN * light).astype(np.uint8)


def test_skin_goes_on_across_the_eye() -> None:
    skin = continued_skin(face(), HOLE, half_eye=28)
    wanted = SKIN * (1 - 0.1 * U[..., None])
    assert np.abs(skin - wanted)[HOLE].max() < 12


@pytest.mark.parametrize("lashes", [0.3, 0.5])
def test_lashes_are_no_skin(lashes: float) -> None:
    pixels = face()
    pixels[(np.abs(V + 0.45) < 0.08) & (np.abs(U) < 1)] = (SKIN * lashes).astype(np.uint8)
    skin = continued_skin(pixels, HOLE, half_eye=28)
    assert skin[HOLE].mean() > 0.9 * continued_skin(face(), HOLE, half_eye=28)[HOLE].mean()


def test_grain_has_no_streaks_where_it_is_turned_over_again() -> None:
    noise = np.random.default_rng(0).normal(0, 10, (HEIGHT, WIDTH, 1))
    pixels = np.clip(np.where(HOLE[..., None], 0, SKIN + noise), 0, 255).astype(np.uint8)
    fine = grain(pixels, HOLE, V, np.full_like(V, 0.4), 0.1).mean(axis=2)[HOLE.any(axis=1)]
    shown = fine[np.abs(fine).max(axis=1) > 0]
    down, across = (np.abs(np.diff(shown, axis=axis)).mean() for axis in (0, 1))
    assert down > 0.7 * across > 0
    assert len(shown) > 0.4 * len(fine)


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_the_grain_of_a_lying_faces_lid_is_that_of_an_upright_ones(turns: int) -> None:
    noise = np.random.default_rng(0).normal(0, 10, (HEIGHT, WIDTH, 3))
    pixels = np.clip(np.where(HOLE[..., None], 0, SKIN + noise), 0, 255).astype(np.uint8)
    patch = pixels, HOLE, V, np.full_like(V, 0.4)
    lying = grain(*(np.ascontiguousarray(np.rot90(each, turns)) for each in patch), 0.1)
    np.testing.assert_allclose(np.rot90(lying, -turns), grain(*patch, 0.1), atol=1e-3)


def test_a_lid_is_as_dark_as_the_skin_beneath_its_brow() -> None:
    skin = np.full((HEIGHT, WIDTH, 3), SKIN, np.float32)
    from_brow = np.clip((V + 1.2) / 0.8, 0, 1)
    shade = np.where(V[..., None] < -0.4, 0.85 * SKIN, SKIN).astype(np.uint8)
    dark = shaded(skin, shade, from_brow, -0.4 - V, np.full_like(V, 0.8), U)
    lit = shaded(skin, skin.astype(np.uint8), from_brow, -0.4 - V, np.full_like(V, 0.8), U)
    at_crease = np.abs(V + 0.4) < 0.1
    np.testing.assert_allclose(dark[at_crease] / lit[at_crease], 0.85, atol=0.06)
    np.testing.assert_allclose(dark[V > 0.2], lit[V > 0.2], rtol=0.01)
