"""Paces made by code: what is shown is right, or nothing."""

import random
from itertools import pairwise

import pytest

from backend.jobs.pace import STABLE_SECONDS, STALLED_SECONDS, Pace

TOTAL = 60.0


def shown(arrivals, total=TOTAL, pace=None):
    """What is shown at each arrival of (moment, media seconds)."""
    pace = pace or Pace()
    return [(now, media, pace.see(media, total, now)) for now, media in arrivals]


def steady(speed, seconds, step=0.2, begin=0.0, media=0.0):
    """A fragment each `step` of video, for so many seconds on the clock."""
    num = int(seconds * speed / step)
    return [(begin + i * step / speed, media + i * step) for i in range(1, num + 1)]


@pytest.mark.parametrize("speed", [0.05, 0.5, 1.0, 3.0, 20.0])
def test_a_steady_pace_is_told_exactly_once_it_is_known(speed):
    seen = shown(steady(speed, TOTAL / speed))
    told = [(now, media, left) for now, media, left in seen if left is not None]
    assert told, "never told"
    assert told[-1][2] == pytest.approx(0, abs=0.2)
    for _, media, left in told:
        assert left == pytest.approx((TOTAL - media) / speed, rel=0.02, abs=0.2)
    assert seen[0][0] + STABLE_SECONDS <= told[0][0] < seen[0][0] + 4 * max(1, 0.2 / speed) + 2


def test_preparation_says_nothing_of_the_pace():
    pace = Pace()
    assert [pace.see(0.0, TOTAL, now) for now in range(60)] == [None] * 60
    first = next(left for _, _, left in shown(steady(2.0, 10, begin=60.0), pace=pace) if left)
    assert first == pytest.approx(29, abs=1)


@pytest.mark.parametrize("seed", range(40))
def test_what_is_shown_never_jumps(seed):
    """At any pace: it may only run faster or slower than a clock, or vanish."""
    draw = random.Random(seed)  # noqa: S311 - no secret
    now, media, arrivals = 0.0, 0.0, []
    while media < TOTAL:
        now += draw.choice([0.01, 0.1, 0.3, 1.0, 3.0, draw.uniform(0, 15)])
        media += draw.choice([0.0, 0.2, 0.2, 2.0])
        arrivals.append((now, media))
    for (before, _, last), (after, _, left) in pairwise(shown(arrivals)):
        if left is None:
            continue
        assert left >= 0
        if last is not None:
            seconds = after - before
            allowed = seconds * max(0.5, 0.2 * last) + 0.2
            assert abs(left - max(0.0, last - seconds)) <= allowed


def test_a_pace_that_slows_is_followed():
    fast = steady(4.0, 5)
    slow = steady(1.0, 40, begin=fast[-1][0], media=fast[-1][1])
    seen = shown(fast + slow)
    _, media, left = next(each for each in seen if each[0] > 20)
    assert left == pytest.approx(TOTAL - media, rel=0.15)


def test_a_stall_is_not_counted_down_and_what_follows_is_told_anew():
    pace = Pace()
    begin = steady(1.0, 10)
    assert shown(begin, pace=pace)[-1][2] is not None
    stalled = [(10 + i / 2, 10.0) for i in range(60)]
    waits = shown(stalled, pace=pace)
    assert all(left is None for now, _, left in waits if now >= 10 + STALLED_SECONDS)
    after = shown(steady(1.0, 20, begin=40.0, media=10.0), pace=pace)
    assert after[0][2] is None
    assert after[-1][2] == pytest.approx(TOTAL - 30, rel=0.1)


def test_bursts_even_out():
    """Two seconds of video at once, every two seconds, with signs of life in between."""
    arrivals = [(tick / 2, 2.0 * (1 + tick // 4)) for tick in range(100)]
    told = [(media, left) for now, media, left in shown(arrivals) if left is not None and now > 10]
    assert told
    for media, left in told:
        assert left == pytest.approx(TOTAL - media, rel=0.3, abs=3)


def test_what_was_kept_and_comes_at_once_does_not_promise_the_same_speed_for_the_rest():
    kept = [(i / 1000, i / 5) for i in range(1, 100)]
    seen = shown(kept + steady(1.0, 30, begin=0.1, media=19.8))
    assert all(left is None or left > 15 for now, media, left in seen if media < 30)
