"""All that the doctor looks at on a GPU host whose packages can be imported."""

from typing import Final

from contracts.doctor.findings import Finding, exit_status, fault, look_at_all
from contracts.doctor.machine import (
    Door,
    look_at_disk,
    look_at_folder,
    look_at_memory,
    look_at_port,
)
from contracts.settings_faults import look_at_settings
from gpu_service.doctor.checkpoints import look_at_checkpoints
from gpu_service.doctor.devices import look_at_cpu, look_at_gpu, look_at_openvino
from gpu_service.doctor.engines import line_to_order, look_at_engines
from gpu_service.doctor.libraries import look_at_ffmpeg, look_at_opencv
from gpu_service.doctor.reach import look_at_token, look_at_tunnel
from gpu_service.engines.registry import ENGINES
from gpu_service.settings import Settings

SECONDS: Final = 25.0
"""How long the doctor may take; PyTorch with a checkpoint takes most of it."""
NEEDED_DISK_GB: Final = 1.0
"""Temporary files of renders."""
NEEDED_MEMORY_GB: Final = 1.0


def look_at_service(*, machine: bool) -> list[Finding]:
    """Look at everything at the same time.

    Args:
        machine: Also at port, memory and disk.
    """
    settings, found = look_at_settings(Settings, "GPU_")
    found += _order(settings)
    looks = {
        "token": lambda: [look_at_token(settings)],
        "tunnel": lambda: look_at_tunnel(settings),
        "cpu": lambda: look_at_cpu(settings),
        "gpu": lambda: look_at_gpu(settings),
        "openvino": lambda: look_at_openvino(settings),
        "libraries": lambda: [look_at_opencv(), *look_at_ffmpeg()],
        "engines": lambda: _checkpoints_and_engines(settings),
    }
    if machine:
        door = Door("GPU host", "GPU_PORT", settings.port, "/health")
        looks = {
            "memory": lambda: look_at_memory(NEEDED_MEMORY_GB),
            "disk": lambda: [look_at_disk(settings.weights_dir, NEEDED_DISK_GB)],
            "ports": lambda: [look_at_port(door)],
        } | looks
    found.append(look_at_folder("data", settings.weights_dir, "GPU_WEIGHTS_DIR"))
    found.append(look_at_folder("data", settings.data_dir, "GPU_DATA_DIR"))
    return found + look_at_all(looks, SECONDS)


def _checkpoints_and_engines(settings: Settings) -> list[Finding]:
    checkpoints = look_at_checkpoints(settings)
    # An engine that can't load a damaged file would tell of the same fault once more.
    return checkpoints + look_at_engines(settings, damaged=bool(exit_status(checkpoints)))


def _order(settings: Settings) -> list[Finding]:
    unknown = [name for name in settings.engine_names if name not in ENGINES]
    if not unknown:
        return []
    known = [name for name in settings.engine_names if name in ENGINES] or list(ENGINES)
    return [
        fault(
            "settings",
            f"GPU_ENGINE_ORDER names {', '.join(unknown)}, which is no engine",
            "`auto` passes over it without a word.",
            line_to_order(known),
        )
    ]
