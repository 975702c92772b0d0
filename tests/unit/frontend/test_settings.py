from pathlib import Path

import pytest

from frontend.settings import Settings


def test_a_secret_key_is_made_once_and_kept_to_its_owner(tmp_path: Path) -> None:
    first = Settings(_env_file=None, data_dir=tmp_path / "new")
    key = first.session_key()
    assert len(key) >= 64
    assert Settings(_env_file=None, data_dir=tmp_path / "new").session_key() == key
    assert (tmp_path / "new" / "secret_key").stat().st_mode & 0o077 == 0


def test_a_secret_key_whose_writing_was_cut_short_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "secret_key").touch()
    key = Settings(_env_file=None, data_dir=tmp_path).session_key()
    assert len(key) >= 64
    assert Settings(_env_file=None, data_dir=tmp_path).session_key() == key
    assert [path.name for path in tmp_path.iterdir()] == ["secret_key"]


def test_a_secret_key_that_is_set_is_not_written(tmp_path: Path) -> None:
    settings = Settings(_env_file=None, data_dir=tmp_path, secret_key="mine")
    assert settings.session_key() == "mine"
    assert list(tmp_path.iterdir()) == []


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRONTEND_PORT", "5123")
    monkeypatch.setenv("FRONTEND_ALLOWED_HOSTS", "a.example,b.example")
    settings = Settings(_env_file=None)
    assert settings.port == 5123
    assert settings.trusted_hosts[-2:] == ["a.example", "b.example"]
