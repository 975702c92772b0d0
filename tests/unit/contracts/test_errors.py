"""The tree of errors and their form on the wire."""

import pytest

from contracts.catalogue import catalogue, from_body
from contracts.errors import Busy, EngineBusy, LipSyncError, NoFaceFound, UpstreamError
from contracts.problem import ErrorBody


def test_every_error_has_a_code_of_its_own() -> None:
    def tree(error: type[LipSyncError]) -> list[type[LipSyncError]]:
        return [error, *(e for child in error.__subclasses__() for e in tree(child))]

    classes = [error for error in tree(LipSyncError) if error.__module__ == "contracts.errors"]
    assert len({error.code for error in classes}) == len(classes)


@pytest.mark.parametrize("code", catalogue())
def test_every_error_says_what_it_means_and_what_to_do(code: str) -> None:
    error = catalogue()[code]
    assert error.title
    assert error.default_hint
    assert 400 <= error.http_status < 600
    assert error.title[0].isupper()
    assert not error.title.endswith(".")


@pytest.mark.parametrize("code", catalogue())
def test_an_error_that_crosses_the_wire_is_the_same_class_there(code: str) -> None:
    sent = catalogue()[code]("what happened", hint="do this", field="image")
    body = ErrorBody.model_validate_json(sent.body("id-1").model_dump_json())
    assert (body.code, body.status, body.request_id) == (code, sent.http_status, "id-1")
    received = from_body(body.model_dump(), body.status)
    assert type(received) is type(sent)
    assert (received.detail, received.hint) == ("what happened", "do this")
    assert received.field == "image"
    assert received.body().request_id == "id-1"


@pytest.mark.parametrize("body", [{}, {"code": "SOMETHING_NEW", "detail": 3}, {"code": None}])
def test_an_error_that_is_not_ours_is_the_other_services(body: dict[str, object]) -> None:
    error = from_body(body, 418)
    assert type(error) is UpstreamError
    assert "418" in error.detail
    assert "None" not in error.detail


def test_an_error_without_a_hint_gives_that_of_its_class() -> None:
    assert NoFaceFound("none").body().hint == NoFaceFound.default_hint


def test_busy_may_say_when_to_come_back() -> None:
    error = EngineBusy("full", retry_after_seconds=3)
    assert isinstance(error, Busy)
    assert error.retryable
    assert error.retry_after_seconds == 3
