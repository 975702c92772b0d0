"""What may be needed again, within a budget."""

import numpy as np

from gpu_service.cache import Cache


def test_what_was_used_longest_ago_goes_first() -> None:
    cache: Cache[str, int] = Cache(10)
    for number, key in enumerate("abc"):
        cache.put(key, number, 3)
    assert cache.get("a") == 0
    cache.put("d", 3, 4)
    assert [cache.get(key) for key in "abcd"] == [0, None, 2, 3]


def test_a_value_over_the_budget_is_not_kept_and_pushes_none_out() -> None:
    cache: Cache[str, int] = Cache(10)
    cache.put("a", 1, 10)
    cache.put("b", 2, 11)
    assert (cache.get("a"), cache.get("b")) == (1, None)
    cache.put("a", 3, 11)
    assert cache.get("a") is None


def test_all_values_together_stay_within_the_budget() -> None:
    choose = np.random.default_rng(3)
    cache: Cache[int, int] = Cache(100)
    sizes: dict[int, int] = {}
    for _ in range(500):
        key, size = (int(number) for number in choose.integers((20, 60)))
        cache.put(key, key, size)
        sizes[key] = size
        kept = [key for key in sizes if cache.get(key) is not None]
        assert key in kept
        assert sum(sizes[key] for key in kept) <= 100


def test_unwanted_values_are_let_go_and_leave_their_room() -> None:
    cache: Cache[str, int] = Cache(10)
    cache.put("a", 1, 5)
    cache.put("b", 2, 5)
    cache.drop(lambda key: key == "a")
    cache.put("c", 3, 5)
    assert [cache.get(key) for key in "abc"] == [None, 2, 3]
