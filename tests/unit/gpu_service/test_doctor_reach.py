from pathlib import Path

import pytest

from gpu_service.doctor import reach
from gpu_service.doctor.reach import look_at_token, look_at_tunnel
from gpu_service.settings import Settings

GOOD = "Fs7-nobody-guesses-it-9qX"
DOMAIN = "name.ngrok-free.dev"


@pytest.fixture(autouse=True)
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No agent, no account and no program."""
    for name in ("NGROK_AUTHTOKEN", "GPU_NGROK_AUTHTOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PYNGROK_NGROK_PATH", str(tmp_path / "ngrok"))
    monkeypatch.setattr(reach, "DEFAULT_NGROK_CONFIG_PATH", str(tmp_path / "ngrok.yml"))
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def settings(**chosen: object) -> Settings:
    return Settings(_env_file=None, **chosen)  # type: ignore[arg-type, call-arg]


@pytest.mark.parametrize(
    ("chosen", "state"),
    [
        ({}, "ok"),
        ({"token": GOOD}, "ok"),
        ({"token": "hunter2"}, "ok"),  # others can't come near
        ({"host": "gpu.example"}, "ok"),  # one is made and kept
        ({"host": "gpu.example", "token": "a" * 30}, "fault"),
        ({"host": "gpu.example", "token": GOOD}, "ok"),
        ({"tunnel": "ngrok", "token": "hunter2"}, "fault"),
    ],
)
def test_a_token_must_be_hard_to_guess(chosen: dict[str, str], state: str) -> None:
    found = look_at_token(settings(**chosen))
    assert found.state == state
    if token := chosen.get("token"):
        assert token not in str(found)


def test_no_tunnel_is_worth_knowing_unless_that_is_what_was_asked_for() -> None:
    assert [each.state for each in look_at_tunnel(settings())] == ["note"]
    assert [each.state for each in look_at_tunnel(settings(tunnel="none"))] == ["ok"]
    assert [each.state for each in look_at_tunnel(settings(host="gpu.example"))] == ["ok"]


def test_ngrok_needs_its_agent_and_an_authtoken(bare: Path) -> None:
    found = look_at_tunnel(settings(tunnel="ngrok", tunnel_domain=DOMAIN))
    assert [each.state for each in found] == ["fault", "fault"]
    assert "install_ngrok" in found[0].fix
    assert "NGROK_AUTHTOKEN=" in found[1].fix
    (bare / "ngrok").touch()
    (found_now,) = look_at_tunnel(settings(tunnel="ngrok", tunnel_domain=DOMAIN))
    assert "no authtoken" in found_now.what
    ready = look_at_tunnel(settings(tunnel="ngrok", tunnel_domain=DOMAIN, ngrok_authtoken=GOOD))
    assert [each.state for each in ready] == ["ok"]
    assert GOOD not in str(ready)


def test_the_authtoken_of_ngroks_own_configuration_will_do(bare: Path) -> None:
    (bare / "ngrok").touch()
    (bare / "ngrok.yml").write_text("version: '3'\nagent:\n    authtoken: abc\n")
    found = look_at_tunnel(settings(tunnel="ngrok", tunnel_domain=DOMAIN))
    assert [each.state for each in found] == ["ok"]


def test_a_changing_address_is_worth_knowing(bare: Path) -> None:
    (bare / "ngrok").touch()
    (found,) = look_at_tunnel(settings(tunnel="ngrok", ngrok_authtoken=GOOD))
    assert found.state == "note"
    assert "GPU_TUNNEL_DOMAIN" in found.fix


def test_cloudflared_must_be_there(bare: Path) -> None:
    assert [each.state for each in look_at_tunnel(settings(tunnel="cloudflared"))] == ["fault"]
    (bare / "cloudflared").touch(mode=0o755)
    assert [each.state for each in look_at_tunnel(settings(tunnel="cloudflared"))] == ["ok"]
