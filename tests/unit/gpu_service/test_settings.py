"""What an operator may set."""

import pytest
from pydantic import ValidationError

from gpu_service.settings import Settings


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("localhost", True),
        ("[::1]", True),
        ("127.8.8.8", True),
        ("0.0.0.0", False),  # noqa: S104 - that it is noticed is the point
        ("::", False),
        ("gpu.example", False),
    ],
)
def test_a_host_is_loopback_only_if_no_other_machine_can_reach_it(
    host: str, loopback: bool
) -> None:
    assert Settings(host=host).loopback is loopback


def test_the_order_of_engines_is_a_list_of_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPU_ENGINE_ORDER", "wav2lip, facewarp,")
    assert Settings().engine_names == ("wav2lip", "facewarp")


def test_a_value_out_of_range_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPU_MAX_CONCURRENT", "0")
    with pytest.raises(ValidationError, match="max_concurrent"):
        Settings()


def test_a_token_does_not_show_in_its_settings() -> None:
    assert "hidden" not in repr(Settings(token="hidden-value"))
