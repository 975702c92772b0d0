"""The form's options are those of the contract."""

import re
from typing import get_args

import pytest
from pydantic import ValidationError

from contracts.lipsync import LipSyncOptions
from frontend.options import OF_SOME_ENGINES, OPTIONS, Option


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_an_option_offers_what_the_contract_allows(option: Option) -> None:
    field = LipSyncOptions.model_fields[option.name]
    assert option.label
    assert option.help.endswith(".")
    values = {value for value in get_args(field.annotation) if isinstance(value, str)}
    assert set(option.choices) == values
    default = option.default
    assert LipSyncOptions.model_validate({option.name: default} if default else {}) == (
        LipSyncOptions()
    )
    bounded = {"minimum", "maximum", "pattern"} & set(option.bounds)
    assert bool(option.wrong) == bool(bounded)


def test_what_a_wrong_value_is_told_to_be_is_right() -> None:
    for option in OPTIONS:
        for value in re.findall(r"\d+(?:,\d+)*", option.wrong):
            LipSyncOptions.model_validate({option.name: value})
    with pytest.raises(ValidationError):
        LipSyncOptions.model_validate({"pads": "1,2"})


def test_options_of_some_engines_are_in_the_form() -> None:
    assert {option.name for option in OPTIONS} >= OF_SOME_ENGINES
