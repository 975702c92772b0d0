"""The commands about weights: which there are, and how they come to this host."""

import argparse
import sys
from importlib import import_module
from pathlib import Path

from contracts.errors import CheckpointMismatch
from gpu_service.settings import Settings
from gpu_service.weights.exports import check_export, read_export
from gpu_service.weights.registry import (
    LINKS_NOTED,
    WEIGHTS,
    Weights,
    weights_named,
    weights_of_file,
)
from gpu_service.weights.store import WeightsRecord, WeightsStore


def add_commands(parser: argparse.ArgumentParser) -> None:
    """Put the commands below `weights`."""
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    listing = commands.add_parser("list", help="the published weights, and which are installed")
    listing.set_defaults(run=_list)

    add = commands.add_parser("add", help="install a file or an export that is on this machine")
    add.add_argument(
        "file", type=Path, help="a checkpoint: .pth, .pt or .safetensors; or an export's folder"
    )
    add.add_argument("--name", choices=WEIGHTS, help="what it is, if its name does not say so")
    add.set_defaults(run=_add)

    fetch = commands.add_parser("fetch", help="download and install; goes on where it stopped")
    fetch.add_argument("name", choices=WEIGHTS)
    fetch.add_argument("--url", default="", help="from elsewhere: https://… or drive:ID")
    fetch.set_defaults(run=_fetch)

    for command in (add, fetch):
        command.add_argument(
            "--accept-licence", action="store_true", help="you use it only as its licence allows"
        )

    verify = commands.add_parser("verify", help="compare the installed files with their records")
    verify.set_defaults(run=_verify)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


def _list(settings: Settings, options: argparse.Namespace) -> int:
    del options
    store = WeightsStore(settings.weights_dir)
    for weights in WEIGHTS.values():
        record = store.record(weights.name) if store.find(weights.name) else None
        _say(f"{weights.name:15} {'installed' if record else 'not installed'}")
        _say(f"    {weights.title}; for the engine {weights.engine}")
        if record:
            exported = _exported(store.find(weights.name))
            _say(f"    {_what(record)} of {record.added:%Y-%m-%d}, from {record.source}{exported}")
        else:
            _say(f"    {', '.join(weights.file_names)}: {weights.size}")
            _say(f"    {weights.url or weights.page} ({LINKS_NOTED})")
        _say(f"    {weights.licence}")
    return 0


def _what(record: WeightsRecord) -> str:
    return f"{record.file}, {record.num_bytes / 1e6:.1f} MB, sha256 {record.sha256[:12]}…"


def _exported(path: Path | None) -> str:
    """What an export is for; empty for a file."""
    if path is None or not path.is_dir():
        return ""
    try:
        export = read_export(path)
    except CheckpointMismatch as error:
        return f", damaged: {error.detail}"
    return f", an export for {export.format} in {export.precision}"


def _add(settings: Settings, options: argparse.Namespace) -> int:
    weights = weights_named(options.name) if options.name else _weights_of(options.file)
    accepted = _accepted(weights, settings, options)
    store = WeightsStore(settings.weights_dir)
    _say(f"installed {_what(store.add(options.file, weights, _check, accepted=accepted))}")
    return 0


def _weights_of(file: Path) -> Weights:
    return weights_named(read_export(file).weights) if file.is_dir() else weights_of_file(file.name)


def _fetch(settings: Settings, options: argparse.Namespace) -> int:
    weights = weights_named(options.name)
    accepted = _accepted(weights, settings, options)
    store = WeightsStore(settings.weights_dir)
    record = store.fetch(weights, options.url, _check, _show_progress, accepted=accepted)
    _say(f"installed {_what(record)}")
    return 0


def _accepted(weights: Weights, settings: Settings, options: argparse.Namespace) -> bool:
    """Whether the person accepts the licence, now or at an earlier time."""
    before = WeightsStore(settings.weights_dir).record(weights.name)
    if options.accept_licence or (before and before.licence_accepted):
        return True
    if not weights.research_only or not sys.stdin.isatty():
        return False
    answer = input(f"{weights.name} is for {weights.licence}.\nDo you accept that? [y/N] ")
    return answer.strip().lower() in ("y", "yes")


def _check(weights: Weights, file: Path) -> None:
    """Load the file into the network that it is said to be for; compare an export's bytes."""
    if file.is_dir():
        check_export(file, weights.name, weights.exported)
        return
    with file.open("rb"):
        pass  # a file that can't be read is not the libraries' fault
    try:
        runtime = import_module("gpu_service.runtimes.torch_runtime")
        module, _, name = weights.network.partition(":")
        network = getattr(import_module(module), name)()
    except ModuleNotFoundError as error:
        _say(f"not looked into: {error.name} is not installed here")
        return
    except (ImportError, OSError) as error:  # PyTorch raises both where its own parts are gone
        _say(f"not looked into: {error}")
        return
    runtime.load_checkpoint(network, file)


def _show_progress(done: int, total: int) -> None:
    if sys.stderr.isatty():
        share = f" of {total / 1e6:.1f} MB, {100 * done / total:.0f} %" if total else " MB"
        sys.stderr.write(f"\r{done / 1e6:.1f}{share} {chr(10) * (done == total)}")
        sys.stderr.flush()


def _verify(settings: Settings, options: argparse.Namespace) -> int:
    del options
    store = WeightsStore(settings.weights_dir)
    verdicts = {name: store.verify(name) for name in WEIGHTS if store.record(name)}
    for name, verdict in verdicts.items():
        _say(f"{name:15} {verdict}")
    if not verdicts:
        _say("no weights are installed")
    return 0 if all(verdict == "unchanged" for verdict in verdicts.values()) else 1
