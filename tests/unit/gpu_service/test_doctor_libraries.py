from pathlib import Path

import pytest

from gpu_service.doctor.libraries import look_at_ffmpeg, look_at_opencv


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose modules stand before the installed ones, here and in other processes."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path


def install(modules: Path, name: str, version: str) -> None:
    info = modules / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


def test_one_opencv_is_as_it_should_be(modules: Path) -> None:
    install(modules, "opencv-like", "1.0")
    found = look_at_opencv()
    assert found.state == "ok"
    assert found.what.startswith("opencv-python-headless ")


@pytest.mark.parametrize("name", ["opencv-python", "opencv_contrib_python", "Opencv-Python"])
def test_a_second_opencv_is_a_fault_and_the_first_one_is_kept(modules: Path, name: str) -> None:
    install(modules, name, "4.12.0.88")
    found = look_at_opencv()
    assert found.state == "fault"
    assert f"{name} 4.12.0.88" in found.what
    assert "uninstall -y" in found.fix
    assert name in found.fix
    assert "install --no-deps opencv-python-headless==" in found.fix


@pytest.mark.parametrize(
    ("version", "state"),
    [("8.1.2", "note"), ("8.1.3", "ok"), ("8.2", "ok"), ("9.0.1-lgpl", "ok"), ("7.1.2", "note")],
)
def test_an_ffmpeg_with_a_known_hole_is_worth_knowing(
    modules: Path, version: str, state: str
) -> None:
    (modules / "av.py").write_text(f"ffmpeg_version_info = '{version}'")
    (found,) = look_at_ffmpeg()
    assert found.state == state
    assert version in found.what


def test_the_installed_ffmpeg_says_its_version() -> None:
    (found,) = look_at_ffmpeg()
    assert found.what[0].isdigit()
