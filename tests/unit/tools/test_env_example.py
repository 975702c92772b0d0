import re
from pathlib import Path

import pytest

import backend.settings
import frontend.settings
import gpu_service.settings
from tools.env_example import SERVICES, example
from tools.environment import ROOT
from tools.services import read_dotenv


def test_env_example_lists_every_setting_as_the_services_have_it() -> None:
    text = (ROOT / ".env.example").read_text(encoding="utf-8")
    assert text == example(), "run: python3 run.py env"


def test_every_setting_says_what_it_is_for() -> None:
    for settings in SERVICES.values():
        for name, field in settings.model_fields.items():
            assert field.description, f"{settings.__module__} {name}"


def test_the_lines_of_env_example_are_the_defaults_when_uncommented(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = (ROOT / ".env.example").read_text(encoding="utf-8")
    (tmp_path / ".env").write_text(re.sub(r"^# ([A-Z_]+=)", r"\1", text, flags=re.M))
    assert len(read_dotenv(tmp_path / ".env")) == sum(
        len(service.model_fields) for service in SERVICES.values()
    )
    for service in SERVICES.values():
        written = service().model_dump()
        default = service(_env_file=None).model_dump()
        if "samples_dir" in default:  # in the file it is relative to the project's folder
            written["samples_dir"] = ROOT / written["samples_dir"]
        assert written == default


@pytest.mark.parametrize("service", [frontend.settings, backend.settings, gpu_service.settings])
def test_each_service_reads_its_port_from_a_dotenv_file(
    service: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("FRONTEND_PORT=1234\nBACKEND_PORT=1234\nGPU_PORT=1234\n")
    assert service.Settings().port == 1234
