import errno
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

import backend.cli
import backend.settings
import contracts.secret_files
import frontend.__main__
import frontend.settings
import gpu_service.cli
import gpu_service.settings
from contracts.secret_files import secrets_dir
from contracts.settings_faults import look_at_settings, settings_faults

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


def unreadable(folder: Path, service: str) -> type[BaseSettings]:
    """A service's settings, whose token lies in a file that nobody can read as text."""
    (folder / f"{service}_token").write_bytes(b"\xff\xfe")
    (folder / f"{service}_secret_key").write_bytes(b"\xff\xfe")
    config = SettingsConfigDict(secrets_dir=folder, env_file=None)
    return type("Settings", (SERVICES[service],), {"model_config": config})


@pytest.mark.parametrize(
    ("module", "service", "arguments"),
    [
        (frontend.__main__, "frontend", ()),
        (backend.cli, "backend", (["serve"],)),
        (gpu_service.cli, "gpu", (["serve"],)),
    ],
    ids=SERVICES,
)
def test_a_secret_that_cant_be_read_ends_a_service_without_a_traceback(
    module: Any,
    service: str,
    arguments: tuple[list[str], ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(module, "Settings", unreadable(tmp_path, service))
    assert module.main(*arguments) == 2
    assert "codec can't decode" in capsys.readouterr().err


def test_the_doctor_names_a_secret_that_cant_be_read(tmp_path: Path) -> None:
    settings, (finding,) = look_at_settings(unreadable(tmp_path, "gpu"), "GPU_")
    assert isinstance(settings, gpu_service.settings.Settings)
    assert finding.state == "fault"
    assert "codec can't decode" in finding.what


def test_a_secret_of_another_user_is_told_with_what_to_do() -> None:
    error = SettingsError("error getting value")
    error.__cause__ = PermissionError(errno.EACCES, "Permission denied", "/run/secrets/gpu_token")
    said = settings_faults(error, "GPU_")
    assert said.startswith("/run/secrets/gpu_token: Permission denied. Make it readable")
