"""What benchmarks share: a process of their own, its memory, and a report as JSON."""

import json
import os
import platform
import subprocess
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from multiprocessing import get_context
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
LIBRARIES = ("torch", "openvino", "onnxruntime", "nncf", "mediapipe", "av", "numpy")


def write(found: dict[str, Any], path: Path | None) -> None:
    """Print the findings, and keep them in a file if one is named."""
    text = json.dumps({"about": about(), **found}, indent=2)
    print(text)
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n", encoding="utf-8")


def alone(work: Any, *arguments: Any) -> Any:
    """Do it in a process of its own, whose memory nothing else has filled."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(work, *arguments).result()


def peak_mb() -> int:
    """The most memory that this process has held; `getrusage` would count its parent's too."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return round(int(line.split()[1]) * 1024 / 1e6)


def about() -> dict[str, Any]:
    """What was measured, where and when."""
    return {
        "commit": commit(),
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "cpu": cpu(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
        "python": platform.python_version(),
        "libraries": {name: found for name in LIBRARIES if (found := installed(name))},
    }


def commit() -> str:
    """The commit that was measured, with a plus where files differ from it."""
    git = ["git", "-C", str(ROOT)]
    options: dict[str, Any] = {"text": True, "capture_output": True, "check": False}
    name = subprocess.run([*git, "rev-parse", "--short", "HEAD"], **options).stdout.strip()  # noqa: S603
    changed = subprocess.run([*git, "status", "--porcelain", "-uno"], **options).stdout.strip()  # noqa: S603
    return f"{name or 'unknown'}{'+' if changed else ''}"


def cpu() -> str:
    """The processor's name, as the system gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":")[1].strip() for line in lines if "model name" in line), "unknown")


def installed(name: str) -> str | None:
    """A library's version, if it is there."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None
