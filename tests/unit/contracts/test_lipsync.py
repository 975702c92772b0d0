"""What a caller may ask for."""

import pytest
from pydantic import ValidationError

from contracts.lipsync import LipSyncOptions


def test_without_a_word_the_host_chooses() -> None:
    assert LipSyncOptions().engine == "auto"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("fps", 9.9),
        ("fps", float("nan")),
        ("max_height", 63),
        ("max_height", 1921),
        ("motion", "wild"),
        ("length_mode", "stretch"),
        ("face", "left"),
        ("face", "10;20"),
        ("pads", "1,2,3"),
        ("seed", -1),
        ("colour", "red"),
    ],
)
def test_a_value_out_of_range_and_an_unknown_name_are_refused(field: str, value: object) -> None:
    with pytest.raises(ValidationError, match=field):
        LipSyncOptions.model_validate({field: value})


def test_values_may_come_as_text_from_a_form() -> None:
    options = LipSyncOptions.model_validate(
        {"fps": "30", "max_height": "720", "face": "120,80", "pads": "0,-5,0,0", "seed": "4"}
    )
    assert (options.fps, options.max_height, options.seed) == (30.0, 720, 4)
