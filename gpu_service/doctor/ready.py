"""Loads every engine and prints what came of it, as JSON: `python -m gpu_service.doctor.ready`.

A process apart, since libraries that do not fit the machine can end the one that imports them.
"""

import json
import sys
from typing import Any

from contracts.errors import LipSyncError
from contracts.settings_faults import look_at_settings
from gpu_service.engines.registry import ENGINES, Engines
from gpu_service.settings import Settings


def statuses() -> list[dict[str, Any]]:
    """Each engine by name: what it runs on, or what is wrong and what to do."""
    settings, _ = look_at_settings(Settings, "GPU_")
    engines = Engines(settings.engine_names, ENGINES, settings.weights_dir, settings.compute)
    told = []
    for name in ENGINES:
        try:
            engine = engines.resolve(name)
        except LipSyncError as error:
            fault = {"code": error.code, "detail": error.detail, "hint": error.hint}
            told.append({"name": name, "ready": False, **fault})
        else:
            kinds = [getattr(engine, each, "") for each in ("device", "runtime", "precision")]
            told.append({"name": name, "ready": True, "on": " ".join(filter(None, kinds))})
    return told


if __name__ == "__main__":
    json.dump(statuses(), sys.stdout)
