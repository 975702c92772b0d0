import pytest

from contracts.catalogue import catalogue
from frontend import words
from tests.fakes.backend import VOICES


def test_every_error_with_a_place_exists() -> None:
    assert set(words.PLACES) <= set(catalogue())


def test_a_languages_tag_is_without_its_region() -> None:
    found = words.languages(VOICES)
    assert [(language.name, language.tag) for language in found] == [
        ("English", "en"),
        ("German", "de"),
    ]


@pytest.mark.parametrize(
    ("value", "words_for_it"), [(0.04, "0.0 s"), (4.26, "4.3 s"), (65.2, "1 min 5 s")]
)
def test_spans_of_time_are_said_as_people_say_them(value: float, words_for_it: str) -> None:
    assert words.seconds(value) == words_for_it


@pytest.mark.parametrize(
    ("url", "where"),
    [
        ("http://127.0.0.1:9000", "This computer"),
        ("http://localhost:9000", "This computer"),
        ("https://abc.tunnel.example/x", "abc.tunnel.example"),
    ],
)
def test_the_machine_that_works_is_named(url: str, where: str) -> None:
    assert words.where(url) == where


@pytest.mark.parametrize(
    ("num_bytes", "said"),
    [
        (400, "0 kB"),
        (38_400, "38 kB"),
        (999_600, "1 MB"),
        (38_400_000, "38 MB"),
        (1_250_000_000, "1.2 GB"),
    ],
)
def test_bytes_are_said_as_people_say_them(num_bytes: int, said: str) -> None:
    assert words.size(num_bytes) == said
