"""Whether the engines can render here."""

import json
from collections.abc import Sequence
from typing import Any, Final

from contracts.doctor.findings import Finding, fault, note, well
from contracts.doctor.machine import ask_python, this_python, where_set
from contracts.errors import CheckpointMismatch, CheckpointMissing
from gpu_service.settings import Settings
from gpu_service.weights.registry import WEIGHTS, weights_named

ASK_SECONDS: Final = 22.0
"""PyTorch and a checkpoint of 416 MB from a slow disk."""


def look_at_engines(settings: Settings, *, damaged: bool = False) -> list[Finding]:
    """Load every engine as the host would.

    Args:
        settings: Which of them `auto` tries.
        damaged: Whether it was told already that a checkpoint is not what it should be.
    """
    answer = ask_python(["-W", "ignore", "-m", "gpu_service.doctor.ready"], ASK_SECONDS)
    if answer.status != 0:
        words = f"not after {ASK_SECONDS:.0f} s" if answer.status is None else answer.last_words
        return [
            fault(
                "engines",
                f"none can be loaded: {words}",
                "The GPU host would not start, or end when it renders.",
                f"{this_python()} -m gpu_service engines   # tells more; most often a package",
            )
        ]
    told: list[dict[str, Any]] = json.loads(answer.out)
    ready = [each["name"] for each in told if each["ready"]]
    auto = next((name for name in settings.engine_names if name in ready), "")
    found = [
        _status(each, auto)
        for each in told
        if not (damaged and each.get("code") == CheckpointMismatch.code)
    ]
    if not auto:
        why = "A job that leaves the engine open, as most do, fails."
        line = line_to_order(ready or ["facewarp"])
        found.append(fault("engines", "`auto` has no engine that is ready", why, line))
    return found


def _status(told: dict[str, Any], auto: str) -> Finding:
    name = told["name"]
    if told["ready"]:
        on = f" on {told['on']}" if told["on"] else ""
        return well("engines", f"{name} is ready{on}{'; `auto` takes it' * (name == auto)}")
    if told["code"] == CheckpointMissing.code:
        return _missing(name, auto)
    hint = str(told["hint"]).removeprefix("Run: ").replace("python -m", f"{this_python()} -m")
    what = f"{name} is not ready: {told['detail']}"
    return fault("engines", what, f"`auto` takes {auto or 'none'} instead.", hint)


def _missing(engine: str, auto: str) -> Finding:
    weights = next(each for each in WEIGHTS.values() if each.engine == engine)
    return note(
        "checkpoints",
        f"{engine} has none installed",
        f"`auto` takes {auto or 'none'} instead. {weights.name}: {weights.size}; "
        f"{weights.licence}.",
        line_to_get(weights.name),
    )


def line_to_order(names: Sequence[str]) -> str:
    """The line that has `auto` try these engines."""
    return f"GPU_ENGINE_ORDER={','.join(names)}   # in {where_set('GPU_ENGINE_ORDER')}"


def line_to_get(name: str) -> str:
    """The line that installs weights."""
    weights = weights_named(name)
    command = f"{this_python()} -m gpu_service weights"
    if weights.url:
        return f"{command} fetch {name}"
    return f"{command} add {weights.file_names[-1]} --name {name}   # from {weights.page}"
