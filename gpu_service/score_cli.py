"""The command about sync: how well the mouth of a video follows its sound."""

import argparse
import sys
from pathlib import Path

from contracts.errors import EngineUnavailable
from gpu_service.engines.wav2lip.syncnet import Towers, load_towers
from gpu_service.score import SyncScore, score_video
from gpu_service.settings import Settings
from gpu_service.weights.store import WeightsStore

SYNCNET = "lipsync_expert"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Make this parser the command `score`."""
    parser.add_argument("video", type=Path, help="any video of a face, with sound")
    parser.add_argument("--speech", type=Path, metavar="FILE", help="compare with this sound")
    parser.add_argument("--json", action="store_true", help="print every figure as JSON")
    parser.set_defaults(run=_run)


def _run(settings: Settings, options: argparse.Namespace) -> int:
    video = options.video.read_bytes()
    speech = options.speech.read_bytes() if options.speech else None
    towers, instead = _towers(settings)
    score = score_video(video, speech, towers, _show_progress)
    if options.json:
        _say(score.model_dump_json(indent=2))
        return 0
    for line in _lines(score, instead):
        _say(line)
    return 0


def _towers(settings: Settings) -> tuple[Towers | None, str]:
    """SyncNet, or why it is not asked."""
    path = WeightsStore(settings.weights_dir).find(SYNCNET)
    if path is None:
        return None, f"not asked: the weights {SYNCNET} are not installed"
    try:
        return load_towers(path, settings.device), ""
    except EngineUnavailable as error:
        return None, f"not asked: {error.detail}. {error.hint}"


def _lines(score: SyncScore, instead: str) -> list[str]:
    missing = f", {score.frames_without_face} of them without a face"
    lines = [
        score.verdict,
        f"looked at   {score.seconds:.2f} s, {score.num_frames} frames at {score.fps:.5g} a second"
        f"{missing if score.frames_without_face else ''}",
        f"opening     ranges over {score.opening_range:.3f} eye distances",
    ]
    if score.r is not None and score.lag_ms is not None and score.chance is not None:
        zero = "" if score.r_at_zero is None else f"; {score.r_at_zero:.2f} where the sound is"
        lines += [
            f"r           {score.r:.2f} ({score.r_low:.2f} to {score.r_high:.2f}) at the best lag, "
            f"{score.r_above_rest:.2f} above the rest{zero}",
            f"lag         {_lag(score.lag_ms)}",
            f"chance      {_percent(score.chance)} for a mouth that knows nothing of the sound",
        ]
    if score.closures_hit is not None and score.closures_by_chance is not None:
        lines.append(
            f"closures    {_percent(score.closures_hit)} of {score.num_closures} hit; "
            f"{_percent(score.closures_by_chance)} would be blindly"
        )
    if score.silence_shut is not None:
        lines.append(
            f"silence     shut in {_percent(score.silence_shut)} of {score.silence_seconds:.1f} s"
        )
    return [*lines, f"SyncNet     {_syncnet(score, instead)}"]


def _syncnet(score: SyncScore, instead: str) -> str:
    if score.syncnet is None:
        return instead or "says nothing: the face is never seen for five frames with sound"
    best = f"{score.syncnet.best_cosine:.2f} at the best lag, {_lag(score.syncnet.lag_ms)}"
    return f"cosine {score.syncnet.cosine:.2f} where the sound is; {best}"


def _lag(lag_ms: float) -> str:
    if not lag_ms:
        return "0 ms"
    return f"{lag_ms:+.0f} ms: the mouth is {'late' if lag_ms > 0 else 'early'}"


def _percent(share: float) -> str:
    return "less than 0.1 %" if 0 < share < 0.001 else f"{100 * share:.3g} %"


def _show_progress(stage: str, done: float, total: float) -> None:
    if sys.stderr.isatty():
        end = "\n" if done >= total else ""
        sys.stderr.write(f"\r{stage} {done:.1f} of {total:.1f} s {end}")
        sys.stderr.flush()


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
