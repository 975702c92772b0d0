"""What networks can run on: the processor, NVIDIA's cards, OpenVINO's devices."""

import importlib.util
import json
import os
import platform
import re
import shutil
from pathlib import Path
from typing import Final, NamedTuple

from contracts.doctor.findings import Finding, fault, note, well
from contracts.doctor.machine import ask, ask_python, this_python, where_set
from gpu_service.settings import Settings

ASK_SECONDS: Final = 8.0
CPU_INFO: Final = Path("/proc/cpuinfo")
_FEATURES: Final = {
    "AVX2": ("avx2",),
    "AVX-512": ("avx512f",),
    "bf16": ("avx512_bf16", "amx_bf16"),
    "AMX": ("amx_tile",),
}
"""What makes networks faster, by the flags of which one says that it is there."""
_DRIVERS: Final = {12: 525, 13: 580}
"""The oldest driver of NVIDIA for each major version of CUDA."""
_TORCH_ASKS_CUDA: Final = (
    "import torch; print(torch.cuda.is_available() and torch.zeros(1).cuda().item() == 0)"
)
_OPENVINO_TELLS: Final = """
import json, openvino
core = openvino.Core()
print(json.dumps([
    [name, core.get_property(name, "FULL_DEVICE_NAME"),
     core.get_property(name, "OPTIMIZATION_CAPABILITIES")]
    for name in core.available_devices
]))
"""


class Card(NamedTuple):
    """A card of NVIDIA, as its driver tells."""

    name: str
    driver: str
    total_mb: int
    free_mb: int


class TorchBuild(NamedTuple):
    """The installed PyTorch."""

    version: str
    cuda: str
    """The CUDA that it was built for, such as 13.0; empty for processors alone."""


def look_at_cpu(settings: Settings, info: Path = CPU_INFO) -> list[Finding]:
    """Cores, and the instructions that networks gain by.

    Args:
        settings: What networks are to compute in.
        info: Where Linux tells of its processors.
    """
    cores = f"{os.cpu_count()} cores"
    try:
        text = info.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return [well("cpu", f"{cores}, {platform.machine()}")]
    flags = set(re.findall(r"\S+", next(iter(re.findall(r"^flags\s*:(.*)$", text, re.M)), "")))
    has = [name for name, any_of in _FEATURES.items() if flags & set(any_of)]
    what = f"{cores} with {', '.join(has) or 'none of ' + ', '.join(_FEATURES)}"
    if settings.precision == "bf16" and settings.device == "cpu" and "bf16" not in has:
        why = "Networks that are to compute in bf16 do not run on it."
        return [fault("cpu", what, why, f"GPU_PRECISION=fp32   # in {where_set('GPU_PRECISION')}")]
    if flags and "AVX2" not in has:
        why = "Networks are several times slower without AVX2; a cloud machine may hide it."
        return [note("cpu", what, why)]
    return [well("cpu", what)]


def look_at_gpu(settings: Settings) -> list[Finding]:
    """Cards, their driver and memory, and whether PyTorch can use them."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return [_no_card(settings, "no NVIDIA card: there is no nvidia-smi")]
    query = "--query-gpu=name,driver_version,memory.total,memory.free"
    try:
        listed = ask([program, query, "--format=csv,noheader,nounits"], ASK_SECONDS)
        head = ask([program], ASK_SECONDS)
    except OSError as error:
        return [_broken_driver(f"nvidia-smi can't be started: {error.strerror}")]
    if listed.status is None or head.status is None:
        return [_broken_driver(f"nvidia-smi had not answered after {ASK_SECONDS:.0f} s")]
    if listed.status:
        return [_broken_driver(f"nvidia-smi: {listed.last_words}")]
    cards = [card for line in listed.out.splitlines() if (card := _card(line))]
    if not cards:
        return [_no_card(settings, "no NVIDIA card: nvidia-smi lists none")]
    version = re.search(r"CUDA[\w ]*Version: *([0-9.]+)", head.out)
    cuda = version[1] if version else ""
    found = [
        well(
            "gpu",
            f"{card.name}, {card.free_mb / 1e3:.1f} of {card.total_mb / 1e3:.1f} GB free, "
            f"driver {card.driver}, CUDA {cuda or 'unknown'}",
        )
        for card in cards
    ]
    return found + _torch_on(cards[0], cuda, settings)


def _card(line: str) -> Card | None:
    fields = [field.strip() for field in line.split(",")]
    if len(fields) != 4:
        return None
    memory = [int(field) if field.isdigit() else 0 for field in fields[2:]]
    return Card(fields[0], fields[1], *memory)


def _no_card(settings: Settings, what: str) -> Finding:
    if settings.device == "cuda":
        why = "GPU_DEVICE=cuda asks for one, and no engine with a network starts."
        return fault("gpu", what, why, f"GPU_DEVICE=auto   # in {where_set('GPU_DEVICE')}")
    return note("gpu", what, "Everything runs on the processor; the built-in engine needs no card.")


def _broken_driver(what: str) -> Finding:
    return fault(
        "gpu",
        what,
        "The card can't be used until its driver answers, most often after an update of either "
        "the system or the driver.",
        "sudo reboot   # if it stays so: sudo apt-get install --reinstall nvidia-driver-580",
    )


def installed_torch() -> TorchBuild | None:
    """What PyTorch's own version file says; importing it would take seconds."""
    spec = importlib.util.find_spec("torch")
    places = spec.submodule_search_locations if spec else None
    for place in places or ():
        try:
            text = (Path(place) / "version.py").read_text(encoding="utf-8")
        except OSError:
            continue
        said = dict(re.findall(r"^(\w+)(?:\s*:[^=\n]*)?\s*=\s*['\"]([^'\"]*)['\"]", text, re.M))
        return TorchBuild(said.get("__version__", "unknown"), said.get("cuda", ""))
    return None


def _torch_on(card: Card, cuda: str, settings: Settings) -> list[Finding]:
    torch = installed_torch()
    pip = f"{this_python()} -m pip install --force-reinstall"
    if torch is None:
        why = "Engines with a network need it to use the card; the built-in engine does not."
        return [
            note("torch", "not installed", why, f"{this_python()} -m pip install torch==2.13.0")
        ]
    if settings.device == "cpu":
        return [note("torch", f"{torch.version}; GPU_DEVICE=cpu leaves the card unused")]
    if not torch.cuda:
        return [
            fault(
                "torch",
                f"{torch.version} is a build for processors alone, and here is a {card.name}",
                "Engines with a network run many times slower than they could.",
                f"{pip} torch==2.13.0 --index-url https://download.pytorch.org/whl/cu126",
            )
        ]
    wanted = int(torch.cuda.partition(".")[0])
    if cuda and int(cuda.partition(".")[0]) < wanted:
        return [
            fault(
                "torch",
                f"{torch.version} is built for CUDA {torch.cuda}, and the driver {card.driver} "
                f"goes up to CUDA {cuda}",
                "PyTorch then finds no card, and engines with a network run on the processor.",
                f"sudo apt-get install nvidia-driver-{_DRIVERS.get(wanted, 580)}   # and reboot",
            )
        ]
    return [_torch_tried(torch, pip)]


def _torch_tried(torch: TorchBuild, pip: str) -> Finding:
    answer = ask_python(["-c", _TORCH_ASKS_CUDA], 2 * ASK_SECONDS)
    if answer.status == 0 and answer.out.strip() == "True":
        return well("torch", f"{torch.version} for CUDA {torch.cuda} computes on the card")
    words = "it had not answered in time" if answer.status is None else answer.last_words
    return fault(
        "torch",
        f"{torch.version} for CUDA {torch.cuda} can't compute on the card: {words}",
        "Engines with a network run on the processor, many times slower.",
        f"{pip} torch=={torch.version.partition('+')[0]}   # then: nvidia-smi",
    )


def look_at_openvino(settings: Settings) -> list[Finding]:
    """OpenVINO's devices, where it is installed."""
    if importlib.util.find_spec("openvino") is None:
        what = "not installed; wav2lip on a processor would gain by it"
        if settings.runtime != "openvino":
            return [well("openvino", what)]
        options = "--no-deps --only-binary :all: --require-hashes"
        lock = "requirements/gpu_service-openvino.txt"
        why = "GPU_RUNTIME=openvino asks for it, and no engine with a network starts."
        fix = f"{this_python()} -m pip install {options} -r {lock}"
        return [fault("openvino", "not installed", why, fix)]
    answer = ask_python(["-c", _OPENVINO_TELLS], ASK_SECONDS)
    if answer.status != 0:
        words = "it had not answered in time" if answer.status is None else answer.last_words
        return [
            fault(
                "openvino",
                f"it is installed and does not run: {words}",
                "On a processor `auto` takes it for engines with a network, which then fail.",
                f"{this_python()} -m pip uninstall -y openvino   # or: GPU_RUNTIME=torch in "
                f"{where_set('GPU_RUNTIME')}",
            )
        ]
    devices = json.loads(answer.out)
    return [well("openvino", "; ".join(_device(*device) for device in devices))]


def _device(name: str, title: str, able: list[str]) -> str:
    precisions = [each.lower() for each in able if each in ("FP32", "BF16", "FP16", "INT8")]
    return f"{name}: {title} ({', '.join(precisions)})"
