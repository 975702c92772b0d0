import os
import subprocess
import sys
from typing import Annotated, Self

import pytest
from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from contracts.settings_faults import look_at_settings
from tools.environment import ROOT


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="TOWER_", env_file=".env", frozen=True)

    host: str = "127.0.0.1"
    token: str = ""
    height: Annotated[int, Field(ge=1)] = 56
    colour: str = "white"

    @model_validator(mode="after")
    def _guarded(self) -> Self:
        if self.host != "127.0.0.1" and not self.token:
            raise ValueError("others can reach it: set TOWER_TOKEN")
        return self


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_settings_that_can_be_are_taken(monkeypatch):
    monkeypatch.setenv("TOWER_COLOUR", "red")
    settings, found = look_at_settings(Settings, "TOWER_")
    assert settings.colour == "red"
    assert [each.state for each in found] == ["ok"]


def test_settings_that_cannot_be_are_all_named_and_the_others_stay(elsewhere, monkeypatch):
    (elsewhere / ".env").write_text("TOWER_HEIGHT=none-of-your-business\nTOWER_COLOUR=red\n")
    monkeypatch.setenv("TOWER_HOST", "tower.example")
    settings, found = look_at_settings(Settings, "TOWER_", "set a token")
    assert (settings.height, settings.host, settings.colour) == (56, "127.0.0.1", "red")
    assert [(each.topic, each.state) for each in found] == [
        ("settings", "fault"),
        ("token", "fault"),
    ]
    assert found[0].what.startswith("TOWER_HEIGHT (from .env): Input should be a valid integer")
    assert found[0].fix == "TOWER_HEIGHT=56   # in .env: the default"
    assert "business" not in str(found), "a value may be a secret"
    assert found[1].fix == "set a token"


def test_a_setting_of_the_environment_is_mended_there(monkeypatch):
    monkeypatch.setenv("TOWER_HEIGHT", "0")
    _, (found,) = look_at_settings(Settings, "TOWER_")
    assert "from the environment" in found.what
    assert found.fix == "unset TOWER_HEIGHT"


def test_an_env_file_in_another_encoding_is_a_fault_and_not_read(elsewhere):
    (elsewhere / ".env").write_text("TOWER_COLOUR=röd\n", encoding="utf-16")
    settings, (found,) = look_at_settings(Settings, "TOWER_")
    assert settings.colour == "white"
    assert ".env can't be read" in found.what
    assert "UTF-8" in found.fix


@pytest.mark.skipif(os.name == "nt", reason="files are not closed so there")
def test_an_env_file_of_somebody_else_is_a_fault_with_the_line_that_takes_it_over(elsewhere):
    (elsewhere / ".env").touch(mode=0)
    program = (
        "import os, dotenv, backend.settings\n"
        "from contracts.settings_faults import look_at_settings\n"
        "os.chdir(os.sys.argv[1])\n"
        "os.geteuid() or os.seteuid(65534)  # root may read everything\n"
        "print(look_at_settings(backend.settings.Settings, 'BACKEND_')[1][0].fix)"
    )
    elsewhere.chmod(0o755)
    command = [sys.executable, "-c", program, str(elsewhere)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == 'sudo chown "$USER" .env'


@pytest.mark.parametrize(
    ("service", "setting"),
    [("frontend", "FRONTEND_PORT"), ("backend", "BACKEND_PORT"), ("gpu_service", "GPU_PORT")],
)
def test_a_service_names_the_setting_that_it_cannot_use(service, setting, monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv(setting, "70000")
    command = [sys.executable, "-m", service, *(() if service == "frontend" else ("serve",))]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2
    assert ended.stderr.startswith(f"{setting}: ")
    assert "Traceback" not in ended.stderr
    assert "70000" not in ended.stderr
