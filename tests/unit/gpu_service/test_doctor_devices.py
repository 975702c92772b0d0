import os
import sys
from pathlib import Path

import pytest

from contracts.doctor.findings import Finding
from gpu_service.doctor import devices
from gpu_service.doctor.devices import (
    TorchBuild,
    installed_torch,
    look_at_cpu,
    look_at_gpu,
    look_at_openvino,
)
from gpu_service.settings import Settings

CARD = "NVIDIA L4, 550.54.15, 23034, 22500"
TABLE = "| NVIDIA-SMI 550.54.15   Driver Version: 550.54.15   CUDA Version: 12.4     |"


def settings(**chosen: object) -> Settings:
    return Settings(_env_file=None, **chosen)  # type: ignore[arg-type, call-arg]


@pytest.fixture(autouse=True)
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder of the PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose modules stand before the installed ones, here and in other processes."""
    folder = tmp_path / "modules"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    # What another test has imported would be found before what stands in the folder.
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    return folder


def nvidia_smi(programs: Path, cards: str = CARD, table: str = TABLE, ending: str = "") -> None:
    path = programs / "nvidia-smi"
    lines = f"case \"$1\" in --query-gpu=*) echo '{cards}' ;; *) echo '{table}' ;; esac"
    path.write_text(f"#!/bin/sh\n{lines}\n{ending}\n")
    path.chmod(0o755)


def torch(modules: Path, version: str, cuda: str, works: bool = True) -> None:
    folder = modules / "torch"
    folder.mkdir()
    (folder / "version.py").write_text(
        f"__version__ = '{version}'\ndebug = False\ncuda: Optional[str] = {cuda}\nhip = None\n"
    )
    (folder / "__init__.py").write_text(
        "class cuda:\n"
        f"    is_available = staticmethod(lambda: {works})\n"
        "class zeros:\n"
        "    def __init__(self, size): pass\n"
        "    def cuda(self): return self\n"
        "    def item(self): return 0\n"
    )


def cpu(tmp_path: Path, flags: str) -> Path:
    path = tmp_path / "cpuinfo"
    path.write_text(
        f"processor : 0\nflags\t\t: fpu {flags}\nbugs :\n\nprocessor : 1\nflags : fpu\n"
    )
    return path


def test_what_a_processor_can_is_named(tmp_path: Path) -> None:
    flags = "avx avx2 avx512f avx512_bf16 amx_tile amx_bf16"
    (found,) = look_at_cpu(settings(), cpu(tmp_path, flags))
    assert found.state == "ok"
    assert found.what.endswith("cores with AVX2, AVX-512, bf16, AMX")


def test_a_processor_without_avx2_is_slow_and_no_fault(tmp_path: Path) -> None:
    (found,) = look_at_cpu(settings(), cpu(tmp_path, "sse4_2 avx"))
    assert found.state == "note"
    assert "none of AVX2" in found.what


def test_bf16_on_a_processor_without_it_is_a_fault(tmp_path: Path) -> None:
    wanted = settings(precision="bf16", device="cpu")
    (found,) = look_at_cpu(wanted, cpu(tmp_path, "avx2"))
    assert found.state == "fault"
    assert found.fix.startswith("GPU_PRECISION=fp32")
    assert look_at_cpu(wanted, cpu(tmp_path, "avx2 amx_bf16"))[0].state == "ok"


def test_a_system_that_does_not_tell_of_its_processor_is_no_fault(tmp_path: Path) -> None:
    (found,) = look_at_cpu(settings(), tmp_path / "nothing")
    assert found.state == "ok"


def test_no_card_is_worth_knowing_and_a_fault_where_one_is_asked_for() -> None:
    assert [each.state for each in look_at_gpu(settings())] == ["note"]
    (found,) = look_at_gpu(settings(device="cuda"))
    assert found.state == "fault"
    assert found.fix.startswith("GPU_DEVICE=auto")


def test_every_card_is_told_with_its_memory_and_driver(programs: Path, modules: Path) -> None:
    nvidia_smi(programs, f"{CARD}\n{CARD}")
    torch(modules, "2.13.0+cu126", "'12.6'")
    found = look_at_gpu(settings())
    assert [(each.topic, each.state) for each in found] == [
        ("gpu", "ok"),
        ("gpu", "ok"),
        ("torch", "ok"),
    ]
    assert "NVIDIA L4, 22.5 of 23.0 GB free, driver 550.54.15, CUDA 12.4" in found[0].what
    assert "computes on the card" in found[2].what, "a minor version more is understood"


def of_torch(found: list[Finding]) -> Finding:
    (one,) = [each for each in found if each.topic == "torch"]
    return one


def test_a_torch_for_a_newer_cuda_than_the_drivers_is_a_fault(
    programs: Path, modules: Path
) -> None:
    nvidia_smi(programs)
    torch(modules, "2.13.0+cu130", "'13.0'")
    found = of_torch(look_at_gpu(settings()))
    assert found.state == "fault"
    assert "built for CUDA 13.0, and the driver 550.54.15 goes up to CUDA 12.4" in found.what
    assert "nvidia-driver-580" in found.fix


def test_a_torch_for_processors_beside_a_card_is_a_fault(programs: Path, modules: Path) -> None:
    nvidia_smi(programs)
    torch(modules, "2.13.0+cpu", "None")
    found = of_torch(look_at_gpu(settings()))
    assert found.state == "fault"
    assert "whl/cu" in found.fix
    assert of_torch(look_at_gpu(settings(device="cpu"))).state == "note"


def test_a_torch_that_finds_no_card_is_a_fault(programs: Path, modules: Path) -> None:
    nvidia_smi(programs)
    torch(modules, "2.13.0+cu126", "'12.6'", works=False)
    found = of_torch(look_at_gpu(settings()))
    assert found.state == "fault"
    assert "can't compute on the card: False" in found.what


def test_no_torch_beside_a_card_is_worth_knowing(
    programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nvidia_smi(programs)
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setattr(sys, "path_importer_cache", {})
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    assert installed_torch() is None
    found = of_torch(look_at_gpu(settings()))
    assert (found.state, found.what) == ("note", "not installed")


def test_the_real_torch_says_what_it_was_built_for(torch: object) -> None:
    found = installed_torch()
    assert found == TorchBuild(torch.__version__, torch.version.cuda or "")  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("ending", "what"),
    [
        ("echo 'could not communicate with the NVIDIA driver' >&2; exit 9", "could not communic"),
        ("read forever < fifo", "had not answered"),
    ],
)
def test_a_driver_that_does_not_answer_is_a_fault(
    programs: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ending: str, what: str
) -> None:
    if "fifo" in ending:
        monkeypatch.setattr(devices, "ASK_SECONDS", 0.5)
    monkeypatch.chdir(tmp_path)
    os.mkfifo("fifo")
    nvidia_smi(programs, ending=ending)
    (found,) = look_at_gpu(settings())
    assert found.state == "fault"
    assert what in found.what
    assert "reboot" in found.fix


def test_a_card_that_is_not_listed_is_no_card(programs: Path) -> None:
    nvidia_smi(programs, cards="No devices were found")
    assert [each.state for each in look_at_gpu(settings())] == ["note"]


def test_openvino_names_its_devices() -> None:
    pytest.importorskip("openvino")
    (found,) = look_at_openvino(settings())
    assert found.state == "ok"
    assert found.what.startswith("CPU: ")
    assert "fp32" in found.what


def test_an_openvino_that_breaks_is_a_fault(modules: Path) -> None:
    (modules / "openvino.py").write_text("raise OSError('libtbb.so.12: no such file')")
    (found,) = look_at_openvino(settings())
    assert found.state == "fault"
    assert "libtbb.so.12" in found.what


def test_openvino_is_missed_only_where_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setattr(sys, "path_importer_cache", {})
    monkeypatch.delitem(sys.modules, "openvino", raising=False)
    assert [each.state for each in look_at_openvino(settings())] == ["ok"]
    (found,) = look_at_openvino(settings(runtime="openvino"))
    assert found.state == "fault"
    assert "gpu_service-openvino.txt" in found.fix
