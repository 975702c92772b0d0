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
