from fractions import Fraction

import numpy as np
import pytest

from gpu_service.correlation import Fit, Track, best_fit

FPS = Fraction(25)


def wander(num_frames: int, seed: int, width: int = 5) -> Track:
    """Noise as smooth as a mouth."""
    noise = np.random.default_rng(seed).standard_normal(num_frames + width - 1)
    return np.convolve(noise, np.ones(width) / width, "valid")


def fit(heard: Track, seen: Track) -> Fit:
    found = best_fit(heard, seen, FPS)
    assert found is not None
    return found


@pytest.mark.parametrize("late", [-15, -4, 0, 1, 15])
def test_the_lag_is_positive_when_the_second_track_is_late(late: int) -> None:
    track = wander(260, seed=1)
    heard, seen = track[30:230], track[30 - late : 230 - late]
    found = fit(heard, seen)
    assert found.lag == late
    assert found.r == pytest.approx(1.0)
    assert found.r_above_rest > 0.8
    assert found.chance < 1e-6


def test_scale_offset_and_gaps_change_nothing() -> None:
    heard = wander(200, seed=2)
    seen = 3.0 + 0.01 * heard
    seen[40:70] = np.nan
    found = fit(heard, seen)
    assert found.lag == 0
    assert found.r == pytest.approx(1.0)


def test_a_track_that_stands_still_fits_nothing() -> None:
    assert best_fit(wander(100, seed=3), np.full(100, 0.2), FPS) is None
    assert best_fit(wander(100, seed=3), np.full(100, np.nan), FPS) is None


def test_tracks_that_fit_only_when_shifted_further_don_t_fit() -> None:
    track = wander(400, seed=4)
    assert fit(track[20:380], track[0:360]).chance > 0.1


def test_unrelated_tracks_seldom_seem_related() -> None:
    """Of 300 pairs, about as many fall below a chance as the word says."""
    chances = np.array(
        [fit(wander(200, seed), wander(200, seed + 1000)).chance for seed in range(300)]
    )
    assert 0.07 < (chances < 0.1).mean() < 0.13
    assert (chances < 0.01).mean() < 0.03


def test_a_short_clip_leaves_more_to_chance_than_a_long_one() -> None:
    heard = wander(1000, seed=5)
    seen = heard + 1.5 * wander(1000, seed=6)
    short, long = fit(heard[:60], seen[:60]), fit(heard, seen)
    assert long.low < long.r < long.high
    assert long.high - long.low < (short.high - short.low) / 3
    assert long.chance < short.chance
