"""The GPU host's command line."""

import argparse
import errno
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from contracts.errors import InvalidInput, LipSyncError, OptionRejected
from contracts.lipsync import LipSyncOptions, RenderReport
from contracts.marks import PhonemeMark
from contracts.records import ProgressRecord, Record
from contracts.settings_faults import settings_faults
from gpu_service.doctor import DOCTOR
from gpu_service.engines.facewarp.mouth import write_mouth_track
from gpu_service.engines.registry import ENGINES, Engines
from gpu_service.export_cli import add_arguments as add_export_arguments
from gpu_service.media.decode import decode_sound, face_kind, speech_chunks
from gpu_service.render import RenderRequest, render
from gpu_service.score_cli import add_arguments as add_score_arguments
from gpu_service.serve_cli import add_arguments as add_serve_arguments
from gpu_service.settings import Settings
from gpu_service.weights_cli import add_commands

_MARKS = TypeAdapter(tuple[PhonemeMark, ...])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; gives the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if "examine" in options:  # also where the settings can't be
        return int(options.examine(options))
    try:
        settings = Settings()
    except ValueError as error:  # also where a secret's file can't be read
        _complain(settings_faults(error, "GPU_"))
        return 2
    try:
        status: int = options.run(settings, options)
    except LipSyncError as error:
        _complain(f"{error.detail}\n{error.hint}")
        return 1
    except OSError as error:
        _complain(f"{error.filename or 'a file'}: {error.strerror}")
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m gpu_service", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    add_serve_arguments(
        commands.add_parser("serve", help="answer HTTP; settings are GPU_* in the environment")
    )

    one = commands.add_parser("render", help="make one video from a face and a speech")
    one.add_argument("face", type=Path, help="a photo")
    one.add_argument("speech", type=Path, help="any audio, or a video with sound")
    one.add_argument("-o", "--output", type=Path, required=True, metavar="OUT.mp4")
    one.add_argument("--engine", default="auto", help="as listed by `engines` (default: auto)")
    one.add_argument(
        "--option", action="append", default=[], metavar="KEY=VALUE", help="a field of the options"
    )
    one.add_argument("--marks", type=Path, metavar="FILE.json", help="the voice's phonemes")
    one.set_defaults(run=_render)

    engines = commands.add_parser("engines", help="list the engines, and why one is not ready")
    engines.set_defaults(run=_engines)

    add_export_arguments(
        commands.add_parser("export", help="write networks for OpenVINO or ONNX Runtime")
    )

    add_commands(commands.add_parser("weights", help="the networks' checkpoints on this host"))

    track = commands.add_parser("mouth-track", help="write how far the mouth opens, as CSV")
    track.add_argument("speech", type=Path, help="any audio, or a video with sound")
    track.add_argument("-o", "--output", type=Path, required=True, metavar="TRACK.csv")
    track.add_argument("--marks", type=Path, metavar="FILE.json", help="the voice's phonemes")
    track.set_defaults(run=_mouth_track)

    add_score_arguments(
        commands.add_parser("score", help="how well a video's mouth follows its sound")
    )

    DOCTOR.add_arguments(commands.add_parser("doctor", help="look for what is missing or wrong"))
    return parser


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _complain(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def _host_engines(settings: Settings) -> Engines:
    return Engines(settings.engine_names, ENGINES, settings.weights_dir, settings.compute)


def _render(settings: Settings, options: argparse.Namespace) -> int:
    request = RenderRequest(
        face=options.face.read_bytes(),
        speech=options.speech.read_bytes(),
        options=_lipsync_options(options.engine, options.option),
        marks=_read_marks(options.marks),
    )
    engines = _host_engines(settings)
    engine = engines.resolve(request.options.engine, face_kind(request.face))
    _check_place(options.output)
    # Made beside its place, so that what stands there stays until the new video is whole.
    unfinished = options.output.with_name(f".{options.output.name}.{os.getpid()}.mp4")
    started = time.perf_counter()
    try:
        report = render(request, engine, _show_progress, unfinished, engines.detectors)
        unfinished.replace(options.output)
    finally:
        unfinished.unlink(missing_ok=True)
    _say_report(report, time.perf_counter() - started, options.output)
    return 0


def _check_place(output: Path) -> None:
    """Hear before the work, and not after it, that no file can be written there."""
    if output.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(output))
    if not output.parent.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "there is no such folder", str(output.parent))


def _lipsync_options(engine: str, pairs: Sequence[str]) -> LipSyncOptions:
    fields: dict[str, str] = {"engine": engine}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise OptionRejected(f"--option {pair}: write it as KEY=VALUE")
        fields[key] = value
    try:
        return LipSyncOptions.model_validate(fields)
    except ValidationError as error:
        fault = error.errors()[0]
        raise OptionRejected(
            f"--option {fault['loc'][0]}: {fault['msg']}",
            hint=f"The options are: {', '.join(LipSyncOptions.model_fields)}.",
        ) from error


def _read_marks(path: Path | None) -> tuple[PhonemeMark, ...] | None:
    if path is None:
        return None
    try:
        return _MARKS.validate_json(path.read_bytes())
    except ValidationError as error:
        raise InvalidInput(
            f"{path} is no list of phonemes",
            hint='Write JSON such as [{"start": 0.0, "end": 0.1, "phoneme": "h"}].',
        ) from error


def _show_progress(record: Record, payload: bytes) -> None:
    del payload
    if isinstance(record, ProgressRecord) and sys.stderr.isatty():
        end = "\n" if record.done >= record.total else ""
        sys.stderr.write(f"\r{record.stage} {record.done:.1f} of {record.total:.1f} {end}")
        sys.stderr.flush()


def _say_report(report: RenderReport, seconds: float, output: Path) -> None:
    for stage, spent in report.stage_seconds.items():
        _say(f"{stage:8} {spent:7.2f} s")
    for warning in report.warnings:
        _say(f"warning: {warning}")
    if report.ignored:
        _say(f"the engine does not use: {', '.join(report.ignored)}")
    _say(
        f"{output}: {report.seconds:.2f} s, {report.width} x {report.height}, "
        f"{report.fps:g} frames per second, by {report.engine} {report.engine_version}, "
        f"in {seconds:.2f} s ({report.seconds / seconds:.1f} times real time)"
    )


def _engines(settings: Settings, options: argparse.Namespace) -> int:
    del options
    for status in _host_engines(settings).statuses():
        _say(f"{status.info.name:12} {'ready' if status.ready else 'not ready'}")
        _say(f"             {status.info.title if status.ready else status.reason}")
    return 0


def _mouth_track(settings: Settings, options: argparse.Namespace) -> int:
    del settings
    sound = decode_sound(options.speech.read_bytes())
    rows = write_mouth_track(speech_chunks(sound, _read_marks(options.marks)), options.output)
    _say(f"{options.output}: {rows} rows for {sound.seconds:.2f} s of speech")
    return 0
