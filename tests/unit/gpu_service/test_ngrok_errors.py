"""What ngrok's errors mean."""

import pytest

from gpu_service.tunnel.ngrok_errors import explain


@pytest.mark.parametrize("code", ["", "ERR_NGROK_99999"])
def test_what_is_not_known_may_pass_and_ngroks_own_words_are_told(code: str) -> None:
    detail, hint, final = explain(code, "")
    assert (detail, final) == ("", False)
    assert hint


@pytest.mark.parametrize("code", [f"ERR_NGROK_{number}" for number in (102, 105, 108, 121, 4018)])
def test_what_only_a_person_can_mend_is_said_with_what_to_do(code: str) -> None:
    detail, hint, final = explain(code, "")
    assert detail
    assert hint.endswith(".")
    assert final


@pytest.mark.parametrize("code", [f"ERR_NGROK_{number}" for number in (313, 319, 320, 354)])
def test_a_domain_that_cannot_be_had_is_named(code: str) -> None:
    assert "mine.example" in explain(code, "mine.example").detail
    assert "{" not in explain(code, "").detail


def test_an_address_that_another_agent_still_holds_is_worth_waiting_for() -> None:
    assert not explain("ERR_NGROK_334", "").final
