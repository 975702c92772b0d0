import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("service", "setting"),
    [("frontend", "FRONTEND_PORT"), ("backend", "BACKEND_PORT"), ("gpu_service", "GPU_PORT")],
)
def test_a_service_names_the_setting_that_it_cannot_use(service, setting, tmp_path, monkeypatch):
    monkeypatch.setenv(setting, "70000")
    command = [sys.executable, "-m", service, *(() if service == "frontend" else ("serve",))]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2
    assert ended.stderr.startswith(f"{setting}: ")
    assert "Traceback" not in ended.stderr
    assert "70000" not in ended.stderr
