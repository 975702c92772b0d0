from pathlib import Path

import pytest
from pydantic import SecretStr
from pydantic_settings import BaseSettings

import backend.settings
import contracts.secret_files
import frontend.settings
import gpu_service.settings
from contracts.secret_files import secrets_dir

SERVICES: dict[str, type[BaseSettings]] = {
    "frontend": frontend.settings.Settings,
    "backend": backend.settings.Settings,
    "gpu": gpu_service.settings.Settings,
}
SECRETS = [
    (service, name)
    for service, settings in SERVICES.items()
    for name, field in settings.model_fields.items()
    if field.annotation is SecretStr
]


def file_of(service: str, name: str) -> str:
    return f"{service}_{name}"


@pytest.mark.parametrize(("service", "name"), SECRETS)
def test_every_secret_can_be_a_file_named_like_its_setting(
    service: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(file_of(service, name).upper(), raising=False)
    value = "postgresql://u:p@host/name" if name == "database_url" else "from-a-file"
    (tmp_path / file_of(service, name)).write_text(f"{value}\n", encoding="utf-8")
    settings = SERVICES[service](_env_file=None, _secrets_dir=tmp_path)
    assert getattr(settings, name).get_secret_value() == value


def test_the_environment_wins_over_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "backend_token").write_text("from-a-file", encoding="utf-8")
    monkeypatch.setenv("BACKEND_TOKEN", "from-the-environment")
    settings = backend.settings.Settings(_env_file=None, _secrets_dir=tmp_path)
    assert settings.token.get_secret_value() == "from-the-environment"


def test_the_folder_is_looked_into_where_there_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contracts.secret_files, "SECRETS_DIR", tmp_path)
    assert secrets_dir() == tmp_path
    monkeypatch.setattr(contracts.secret_files, "SECRETS_DIR", tmp_path / "missing")
    assert secrets_dir() is None


@pytest.mark.parametrize("settings", SERVICES.values(), ids=SERVICES)
def test_every_service_reads_that_folder(settings: type[BaseSettings]) -> None:
    assert settings.model_config["secrets_dir"] == secrets_dir()
