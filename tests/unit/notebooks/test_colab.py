import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

import pytest

from notebooks import colab
from notebooks.colab import Host, StepFailed
from tools.environment import ROOT, TORCH


class SecretNotFoundError(Exception):
    pass


class NotebookAccessError(Exception):
    pass


class TimeoutException(Exception):
    pass


@pytest.fixture
def colab_library(monkeypatch: pytest.MonkeyPatch) -> Callable[..., ModuleType]:
    """Gives a module `google.colab.NAME` with these members, as on Colab."""

    def give(name: str, **members: object) -> ModuleType:
        module = ModuleType(f"google.colab.{name}")
        vars(module).update(members)
        monkeypatch.setitem(sys.modules, module.__name__, module)
        return module

    for name in ("google", "google.colab"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    return give


@pytest.fixture
def store(colab_library: Callable[..., ModuleType]) -> dict[str, str]:
    """Colab's store of secrets; the value `forbidden` may not be read by this notebook."""
    kept: dict[str, str] = {}

    def get(name: str) -> str:
        if name not in kept:
            raise SecretNotFoundError(name)
        if kept[name] == "forbidden":
            raise NotebookAccessError(name)
        return kept[name]

    errors = (SecretNotFoundError, NotebookAccessError, TimeoutException)
    colab_library("userdata", get=get, **{error.__name__: error for error in errors})
    return kept


@pytest.fixture
def host() -> Host:
    return Host(ROOT)


def test_the_module_needs_nothing_but_the_standard_library() -> None:
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import notebooks.colab"
    subprocess.run([sys.executable, "-I", "-S", "-c", code], check=True)


def test_a_failed_step_shows_what_is_wrong_and_what_to_do_in_place_of_a_traceback() -> None:
    shown = StepFailed("the file is gone", "choose another.")._render_traceback_()
    assert shown == ["It failed: the file is gone", "What to do: choose another."]


def test_a_cell_that_runs_again_gets_the_same_host() -> None:
    assert colab.host(str(ROOT)) is colab.host(str(ROOT))


def test_secrets_come_from_colabs_store_by_name_and_are_not_shown(
    host: Host, store: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    store |= {"MY_NGROK": "authtoken-canary", "MY_TOKEN": "token-canary"}
    host.read_secrets("MY_NGROK", "MY_TOKEN")
    assert host._secrets == {"GPU_TOKEN": "token-canary", "NGROK_AUTHTOKEN": "authtoken-canary"}
    said = capsys.readouterr().out
    assert "MY_NGROK is found; MY_TOKEN is found." in said
    assert "canary" not in said + repr(host)


def test_without_a_token_one_is_made(host: Host, store: dict[str, str]) -> None:
    host.read_secrets()
    first = host._secrets["GPU_TOKEN"]
    host.read_secrets()
    assert len(first) >= 32
    assert host._secrets["GPU_TOKEN"] != first


def test_spaces_that_were_pasted_along_are_no_part_of_a_secret(
    host: Host, store: dict[str, str]
) -> None:
    store |= {"NGROK_AUTHTOKEN": "authtoken ", "GPU_TOKEN": " \n"}
    host.read_secrets()
    assert host._secrets["NGROK_AUTHTOKEN"] == "authtoken"
    assert len(host._secrets["GPU_TOKEN"]) >= 32


def test_a_secret_that_the_notebook_may_not_read_says_where_to_allow_it(
    host: Host, store: dict[str, str]
) -> None:
    store["NGROK_AUTHTOKEN"] = "forbidden"
    with pytest.raises(StepFailed, match=r"NGROK_AUTHTOKEN\nWhat to do: open the secrets"):
        host.read_secrets()


def test_outside_colab_secrets_come_from_the_environment(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NGROK_AUTHTOKEN", "from-the-environment")
    host.read_secrets()
    assert host._secrets["NGROK_AUTHTOKEN"] == "from-the-environment"


def test_ngrok_without_its_authtoken_is_refused_before_anything_starts(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NGROK_AUTHTOKEN", raising=False)
    with pytest.raises(StepFailed, match="run cell 3"):
        host.serve("none")
    host.read_secrets()
    with pytest.raises(StepFailed, match="ngrok needs an authtoken"):
        host.serve("ngrok")


@pytest.mark.slow
def test_a_host_that_does_not_start_says_its_last_words(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GPU_MAX_QUEUE", "many")
    host.read_secrets()
    with pytest.raises(StepFailed, match=r"the GPU host ended: .*GPU_MAX_QUEUE"):
        host.serve("none", "", 0)


@pytest.mark.slow
def test_a_checkpoint_that_is_none_is_refused_with_what_to_do(host: Host, tmp_path: Path) -> None:
    (tmp_path / "wav2lip_gan.pth").write_bytes(b"no checkpoint at all")
    with pytest.raises(StepFailed, match=r"licence"):
        host.add_weights("Drive or folder", str(tmp_path / "wav2lip_gan.pth"), accepted=False)


@pytest.mark.slow
def test_the_built_in_engine_needs_no_checkpoint(
    host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    host.add_weights("none", accepted=False)
    assert "no weights are installed" in capsys.readouterr().out


def test_a_place_without_checkpoints_is_said_so(host: Host, tmp_path: Path) -> None:
    for place in ("", str(tmp_path), str(tmp_path / "gone.pth")):
        with pytest.raises(StepFailed, match="there is no checkpoint at"):
            host.add_weights("Drive or folder", place, accepted=True)


def test_drive_that_may_not_be_used_is_said_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, colab_library: Callable[..., ModuleType]
) -> None:
    class MessageError(Exception):
        pass

    def mount(place: str) -> None:
        raise refusal

    monkeypatch.setattr(colab, "DRIVE", tmp_path / "drive")
    colab_library("errors", Error=MessageError)
    colab_library("drive", mount=mount)
    for refusal in (MessageError("credential propagation was unsuccessful"), ValueError("failed")):
        with pytest.raises(StepFailed, match=f"{refusal}\nWhat to do: let this notebook use"):
            colab._files("MyDrive/weights")


def test_every_checkpoint_of_a_folder_on_drive_is_found_once_drive_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, colab_library: Callable[..., ModuleType]
) -> None:
    drive = tmp_path / "drive"
    monkeypatch.setattr(colab, "DRIVE", drive)

    def mount(place: str) -> None:
        folder = Path(place) / "MyDrive" / "weights"
        folder.mkdir(parents=True)
        for name in ("wav2lip.pth", "s3fd.pth", "notes.txt"):
            (folder / name).touch()

    colab_library("drive", mount=mount)
    found = colab._files("MyDrive/weights")
    assert [path.name for path in found] == ["s3fd.pth", "wav2lip.pth"]


@pytest.fixture
def commands(host: Host, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What the host was to run; of a file that is installed, its name and content."""
    run: list[list[str]] = []

    def note(command: Sequence[str], hint: str, *, show: bool = True) -> list[str]:
        del hint, show
        file = Path(command[5]) if command[4] == "add" else None
        run.append([file.name, file.read_text()] if file else list(command[4:]))
        return []

    monkeypatch.setattr(host, "_run", note)
    return run


def test_an_upload_is_installed_under_its_own_name_also_the_second_time(
    host: Host,
    commands: list[list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    colab_library: Callable[..., ModuleType],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wav2lip.pth").write_text("half of it")

    def upload() -> dict[str, bytes]:
        # Where the name is taken, Colab takes another, and tells the one or the other.
        free = "wav2lip (1).pth" if Path("wav2lip.pth").exists() else "wav2lip.pth"
        Path(free).write_text("the whole")
        return {"wav2lip.pth": b"the whole"}

    colab_library("files", upload=upload)
    host.add_weights("upload", accepted=True)
    assert commands == [["wav2lip.pth", "the whole"], ["verify"]]
    assert Path.cwd() == tmp_path
    assert [path.name for path in tmp_path.iterdir()] == ["wav2lip.pth"]


def test_an_upload_that_was_called_off_is_no_success(
    host: Host, commands: list[list[str]], colab_library: Callable[..., ModuleType]
) -> None:
    colab_library("files", upload=dict)
    with pytest.raises(StepFailed, match="no file was chosen"):
        host.add_weights("upload", accepted=True)
    assert commands == []


def test_elsewhere_an_upload_is_refused(host: Host) -> None:
    with pytest.raises(StepFailed, match="only Colab can upload"):
        host.add_weights("upload", accepted=True)


def test_a_python_without_the_packages_is_refused_with_a_way_out(
    host: Host, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bare = tmp_path / "python"
    bare.write_text("#!/bin/sh\necho \"ModuleNotFoundError: No module named 'fastapi'\"; exit 1\n")
    bare.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(bare))
    with pytest.raises(StepFailed, match=r"No module named 'fastapi'\nWhat to do: choose a ver"):
        host.install("this one")


def test_a_host_that_is_gone_is_no_mystery_to_the_self_test(host: Host) -> None:
    host.url = "http://127.0.0.1:9"
    with pytest.raises(StepFailed, match="does not answer"):
        host.self_test()


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Puts a program with this name, a shell script, before all others."""
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)

    def put(name: str, script: str) -> None:
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)

    return put


def installed(folder: Path, programs: Callable[[str, str], None], cuda: str) -> list[str]:
    """How uv was called, where PyTorch then says this of the card."""
    (folder / "requirements").mkdir()
    (folder / "requirements/gpu_service.txt").write_text("numpy==2.2.6\n")
    (folder / ".venv-gpu/bin").mkdir(parents=True)
    python = folder / ".venv-gpu/bin/python"
    python.write_text(f"#!/bin/sh\necho '{cuda}'\n")
    python.chmod(0o755)
    programs("uv", f'echo "$UV_CONSTRAINT" "$@" >> {shlex.quote(str(folder / "calls"))}')
    Host(folder).install()
    return (folder / "calls").read_text().splitlines()


def test_pytorch_is_the_build_that_the_cards_driver_can_run(
    tmp_path: Path, programs: Callable[[str, str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    programs("nvidia-smi", "echo 550.54.15")
    *_, call = installed(tmp_path, programs, "Tesla T4")
    assert call.endswith(f"--torch-backend cu126 {TORCH}")
    assert f"{TORCH}, for Tesla T4," in capsys.readouterr().out


def test_for_a_new_driver_pytorch_is_pypis(
    tmp_path: Path, programs: Callable[[str, str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    programs("nvidia-smi", "echo 580.65.06; echo 580.65.06")
    *_, call = installed(tmp_path, programs, "False")
    assert call.endswith(f":all: {TORCH}")
    said = capsys.readouterr().out
    assert "for a CPU: it can't use the GPU that is there (driver 580)" in said


def test_without_a_card_it_says_where_to_get_one(
    tmp_path: Path, programs: Callable[[str, str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    programs("nvidia-smi", "echo NVIDIA-SMI has failed; exit 9")
    *_, call = installed(tmp_path, programs, "False")
    assert call.endswith(f":all: {TORCH}")
    assert "there is no GPU, choose one" in capsys.readouterr().out


def test_what_colab_tells_uv_of_its_own_packages_is_not_heeded(
    tmp_path: Path, programs: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_CONSTRAINT", "/backend-container/containers/requirements.constraints")
    calls = installed(tmp_path, programs, "False")
    assert len(calls) == 2
    assert not [call for call in calls if "/backend-container" in call]


@pytest.mark.slow
def test_an_environment_of_its_own_runs_the_host(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("requirements", "gpu_service", "contracts"):
        (tmp_path / name).symlink_to(ROOT / name)
    host = Host(tmp_path)
    host.install(sys.executable, torch=False)
    assert "locked packages, for the built-in engine alone," in capsys.readouterr().out
    assert Path(host.python).is_relative_to(tmp_path)
    host.install(sys.executable, torch=False)  # what is there is kept
    engines = subprocess.run(
        [host.python, "-m", "gpu_service", "engines"], cwd=tmp_path, capture_output=True, check=True
    )
    assert b"facewarp     ready" in engines.stdout
