"""Whether the installed checkpoints are what was installed, and nothing lies there unused."""

import re
from pathlib import Path
from typing import Final

from contracts.doctor.findings import Finding, fault, note, well
from contracts.doctor.machine import quoted, this_python
from contracts.errors import InvalidInput
from gpu_service.doctor.engines import line_to_get
from gpu_service.settings import Settings
from gpu_service.weights.registry import WEIGHTS, weights_of_file
from gpu_service.weights.store import WeightsStore

_SUFFIXES: Final = (".pth", ".pt", ".ckpt", ".safetensors", ".onnx")


def look_at_checkpoints(settings: Settings) -> list[Finding]:
    """Compare every installed file with its record, and name the files that no record knows."""
    store = WeightsStore(settings.weights_dir)
    if not store.folder.is_dir():
        return [well("checkpoints", f"none: {store.folder} is not there yet")]
    found = [_installed(store, name) for name in WEIGHTS if _record_path(store, name).exists()]
    known = {record.file for name in WEIGHTS if (record := store.record(name))}
    known |= {_record_path(store, name).name for name in WEIGHTS}
    strays = [
        path
        for path in sorted(store.folder.iterdir())
        if path.name not in known
        and not path.name.startswith(".")
        and (path.is_dir() or path.suffix.lower() in _SUFFIXES)
    ]
    return (found or [well("checkpoints", "none are installed")]) + [*map(_stray, strays)]


def _record_path(store: WeightsStore, name: str) -> Path:
    return store.folder / f"{name}.json"


def _installed(store: WeightsStore, name: str) -> Finding:
    record = store.record(name)
    if record is None:
        what = f"the record of {name} can't be read: {_record_path(store, name)}"
        return fault("checkpoints", what, "The file counts as not installed.", line_to_get(name))
    verdict = store.verify(name)
    if verdict == "unchanged":
        return well("checkpoints", f"{name} is as it was installed on {record.added:%Y-%m-%d}")
    words = "is gone" if verdict == "gone" else "is damaged: it is not what was installed"
    return fault(
        "checkpoints",
        f"{name} {words} ({record.file})",
        f"The engine {WEIGHTS[name].engine} fails with it, or draws nonsense.",
        line_to_get(name),
    )


def _stray(path: Path) -> Finding:
    if re.fullmatch(rf"({'|'.join(WEIGHTS)})-[0-9a-f]{{12}}(\.\w+)?", path.name):
        what = f"{path} is left over from an earlier installation"
        return note("checkpoints", what, "It only takes room.", f"rm -r {quoted(path)}")
    try:
        name = weights_of_file(path.name).name
    except InvalidInput:
        name = "NAME"
    line = f"{this_python()} -m gpu_service weights add {quoted(path)} --name {name}"
    names = f"   # NAME: {', '.join(WEIGHTS)}" * (name == "NAME")
    return fault(
        "checkpoints",
        f"{path} lies there and is not installed",
        "No engine uses a file that was only copied there: it is checked, and its licence is "
        "accepted, when it is added.",
        f"{line} && rm -r {quoted(path)}{names}",
    )
