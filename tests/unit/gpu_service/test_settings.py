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


@pytest.mark.parametrize("name", ["GPU_NGROK_AUTHTOKEN", "NGROK_AUTHTOKEN"])
def test_the_authtoken_is_read_by_ngroks_own_name_too_and_does_not_show(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    for each in ("GPU_NGROK_AUTHTOKEN", "NGROK_AUTHTOKEN"):
        monkeypatch.delenv(each, raising=False)
    assert Settings().ngrok_authtoken.get_secret_value() == ""
    monkeypatch.setenv(name, "hidden-value")
    assert Settings().ngrok_authtoken.get_secret_value() == "hidden-value"
    assert "hidden" not in repr(Settings())


@pytest.mark.parametrize("text", ["name.ngrok-free.dev", " https://Name.ngrok-free.dev/ "])
def test_a_domain_is_read_as_people_copy_it(text: str) -> None:
    assert Settings(tunnel_domain=text).tunnel_domain == "name.ngrok-free.dev"


@pytest.mark.parametrize("text", ["name", "a b.dev", "name.dev:80", "name.dev/path", "-a.dev"])
def test_a_domain_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValidationError, match="tunnel_domain"):
        Settings(tunnel_domain=text)


def test_a_tunnel_of_another_kind_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPU_TUNNEL", "frp")
    with pytest.raises(ValidationError, match="tunnel"):
        Settings()
