"""Iterators that work ahead in threads of their own."""

import threading
from collections.abc import Iterator

import pytest

from gpu_service.pipeline import Ahead

WAIT_SECONDS = 30


def test_items_come_in_their_order_from_another_thread() -> None:
    made_in: set[int] = set()

    def items() -> Iterator[int]:
        for number in range(100):
            made_in.add(threading.get_ident())
            yield number

    with Ahead(items(), 3, "test") as ahead:
        assert list(ahead) == list(range(100))
    assert len(made_in) == 1
    assert threading.get_ident() not in made_in
    assert ahead.seconds > 0


def test_items_are_made_while_nobody_takes_them_but_no_more_than_agreed() -> None:
    made: list[int] = []
    third = threading.Event()

    def items() -> Iterator[int]:
        for number in range(100):
            made.append(number)
            if number == 2:
                third.set()
            yield number

    with Ahead(items(), 3, "test") as ahead:
        assert third.wait(WAIT_SECONDS)
        taken = []
        for number in ahead:
            taken.append(number)
            assert len(made) <= len(taken) + 3
    assert taken == made == list(range(100))


def test_an_error_comes_after_the_items_before_it() -> None:
    failure = ValueError("the fifth")

    def items() -> Iterator[int]:
        yield from range(4)
        raise failure

    taken = []

    def take() -> None:
        with Ahead(items(), 10, "test") as ahead:
            for number in ahead:
                taken.append(number)

    with pytest.raises(ValueError, match="the fifth") as raised:
        take()
    assert raised.value is failure
    assert taken == [0, 1, 2, 3]


@pytest.mark.parametrize("num_taken", [0, 1, 5])
def test_leaving_early_closes_the_iterator_in_its_thread_and_ends_it(num_taken: int) -> None:
    made_in: list[int] = []
    closed_in: list[int] = []

    def items() -> Iterator[int]:
        try:
            for number in range(1_000_000):
                made_in.append(threading.get_ident())
                yield number
        finally:
            closed_in.append(threading.get_ident())

    with Ahead(items(), 2, "test-early") as ahead:
        taken = [number for number, _ in zip(ahead, range(num_taken), strict=False)]
    assert taken == list(range(num_taken))
    assert len(made_in) <= num_taken + 3
    assert closed_in == made_in[:1]
    assert not [each for each in threading.enumerate() if each.name.startswith("test-early")]


def test_the_error_of_who_takes_counts_more_than_that_of_what_was_made() -> None:
    def items() -> Iterator[int]:
        try:
            yield 1
        finally:
            raise ValueError("while closing")

    def take() -> None:
        with Ahead(items(), 1, "test") as ahead:
            assert next(iter(ahead)) == 1
            raise KeyError("first")

    with pytest.raises(KeyError):
        take()


def test_an_iterator_that_fails_while_it_is_closed_is_heard_of() -> None:
    def items() -> Iterator[int]:
        try:
            yield 1
            yield 2
        finally:
            raise ValueError("while closing")

    def take() -> None:
        with Ahead(items(), 1, "test") as ahead:
            assert next(iter(ahead)) == 1

    with pytest.raises(ValueError, match="while closing"):
        take()
