"""How much memory does a long video take? Prints JSON; exits with 1 above the limit.

Renders speech with a video of a face as long as it, so that nothing is shown twice, without the
services around it. The network has seeded weights and draws the first seconds; a stand-in that
computes nothing draws the rest, for that would take hours and no more memory.

    python3 run.py bench memory [--minutes M ...] [--network brief|whole|none] [-o FILE]
"""

import argparse
import io
import sys
import tempfile
import time
from collections.abc import Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, Final

import av
import cv2
import numpy as np

from benchmarks.report import alone, peak_mb, write
from contracts.lipsync import LipSyncOptions
from contracts.records import MediaRecord, ProgressRecord, Record
from gpu_service.data import Frame
from gpu_service.engines.wav2lip.engine import Wav2LipEngine
from gpu_service.engines.wav2lip.generator import Generator, Seen, load_generator
from gpu_service.engines.wav2lip.paste import CpuPainter
from gpu_service.engines.wav2lip.preprocess import Floats
from gpu_service.render import RenderRequest, render
from gpu_service.settings import Compute
from gpu_service.weights.registry import weights_named
from gpu_service.weights.store import WeightsStore
from tests.fakes.generator import FakeGenerators, installed
from tests.media import babble, portrait
from tests.parity_weights import seeded_checkpoint

LIMIT_MB: Final = 1500
WIDTH: Final = 1920
HEIGHT: Final = 1080
FPS: Final = 25
SCENE_SECONDS: Final = 10
SOUND_RATE: Final = 48_000
BRIEF_BATCHES: Final = 50


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and say by the exit status whether it is little enough."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, nargs="+", default=[1.0])
    parser.add_argument("--network", choices=("brief", "whole", "none"), default="brief")
    parser.add_argument("--length-mode", default="loop")
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args(arguments)
    runs = [
        alone(measure, minutes, options.network, options.length_mode) for minutes in options.minutes
    ]
    peak = max(run["peak_resident_mb"] for run in runs)
    faults = [f"{peak} MB are resident, more than {LIMIT_MB}"] if peak > LIMIT_MB else []
    settings = {
        "engine": "wav2lip",
        "network": options.network,
        "length_mode": options.length_mode,
        "picture": f"{WIDTH} x {HEIGHT}, {FPS} frames a second",
        "sound": f"{SOUND_RATE} Hz, two channels",
    }
    write(
        {"settings": settings, "limit_mb": LIMIT_MB, "runs": runs, "faults": faults}, options.output
    )
    return 1 if faults else 0


def measure(minutes: float, network: str, length_mode: str) -> dict[str, Any]:
    """Render so many minutes."""
    peaks: dict[str, int] = {"start": peak_mb()}
    num_bytes = 0

    def emit(record: Record, payload: bytes) -> None:
        nonlocal num_bytes
        num_bytes += len(payload)
        if isinstance(record, ProgressRecord):
            peaks[record.stage] = peak_mb()
        if isinstance(record, MediaRecord) and record.seq % 250 == 0:
            print(f"{record.start:.0f} s: {peak_mb()} MB", file=sys.stderr)

    options = LipSyncOptions.model_validate({"length_mode": length_mode})
    with tempfile.TemporaryDirectory() as folder:
        engine = engine_of(network, Path(folder))
        peaks["engine"] = peak_mb()
        face = alone(film, minutes, Path(folder, "face.mp4")).read_bytes()
        speech = alone(recording, minutes, Path(folder, "speech.flac")).read_bytes()
        started = time.perf_counter()
        report = render(RenderRequest(face, speech, options), engine, emit)
        seconds = time.perf_counter() - started
    return {
        "minutes": minutes,
        "num_frames": report.num_frames,
        "peak_resident_mb": peak_mb(),
        "peak_mb_until_the_end_of": peaks,
        "seconds": round(seconds, 1),
        "times_real_time": round(report.seconds / seconds, 2),
        "stage_seconds": report.stage_seconds,
        "face_mb": round(len(face) / 1e6, 1),
        "speech_mb": round(len(speech) / 1e6, 1),
        "video_mb": round(num_bytes / 1e6, 1),
    }


class BriefGenerator(Generator):
    """Draws some batches with the network, and all others with a stand-in."""

    def __init__(self, path: Path, compute: Compute) -> None:
        self._true = load_generator(path, compute)
        self._fake = FakeGenerators().load(path, compute)
        self.runtime = self._true.runtime
        self.painter = partial(CpuPainter, np.asarray)
        self._num_seen = 0

    def see(self, faces: Floats) -> Seen:
        """Do once what the faces need."""
        self._num_seen += 1
        return (self._drawer.see(faces), self._drawer)

    def mouths(self, mel: Floats, seen: Seen) -> Floats:
        """Draw the lower halves of faces."""
        of_drawer, drawer = seen
        return np.asarray(drawer.draw_mouths(mel, of_drawer), np.float32)

    @property
    def _drawer(self) -> Generator:
        return self._true if self._num_seen <= BRIEF_BATCHES else self._fake


def engine_of(network: str, folder: Path) -> Wav2LipEngine:
    """The engine with as much of the network as is asked for."""
    if network == "none":
        return Wav2LipEngine(installed(folder, "wav2lip"), load=FakeGenerators().load)
    store = WeightsStore(folder)
    checkpoint = alone(seeded_checkpoint, folder / "seeded.pth")
    store.add(checkpoint, weights_named("wav2lip"), lambda _weights, _path: None, accepted=True)
    return Wav2LipEngine(store, load=BriefGenerator if network == "brief" else load_generator)


def film(minutes: float, path: Path) -> Path:
    """A video of the portrait, which moves about; one scene is encoded and then repeated."""
    scene = io.BytesIO()
    with av.open(scene, "w", format="mp4") as output:
        options = {"preset": "veryfast", "crf": "20"}
        stream = output.add_stream("libx264", rate=FPS, options=options)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for index in range(SCENE_SECONDS * FPS):
            output.mux(stream.encode(av.VideoFrame.from_ndarray(moved(index), format="bgr24")))
        output.mux(stream.encode(None))
    with av.open(path, "w", format="mp4") as output:
        copied = None
        for turn in range(round(minutes * 60 / SCENE_SECONDS)):
            with av.open(io.BytesIO(scene.getvalue())) as source:
                stream = source.streams.video[0]
                copied = copied or output.add_stream_from_template(stream)
                offset = int(turn * SCENE_SECONDS / stream.time_base)
                for packet in source.demux(stream):
                    if packet.dts is not None:
                        packet.pts, packet.dts = packet.pts + offset, packet.dts + offset
                        packet.stream = copied
                        output.mux(packet)
    return path


def moved(index: int) -> Frame:
    """The portrait in frame `index` of a scene, which ends where it began."""
    picture = portrait()
    scale = HEIGHT / picture.shape[0]
    angle = 2 * np.pi * index / (SCENE_SECONDS * FPS)
    across = (WIDTH - scale * picture.shape[1]) / 2 + 40 * np.sin(2 * angle)
    place = np.array([[scale, 0, across], [0, scale, 8 * np.sin(3 * angle)]])
    border = cv2.BORDER_REFLECT
    return np.asarray(cv2.warpAffine(picture, place, (WIDTH, HEIGHT), borderMode=border), np.uint8)


def recording(minutes: float, path: Path) -> Path:
    """Made-up speech as a FLAC file of two channels."""
    passage = babble(SCENE_SECONDS)
    with av.open(path, "w", format="flac") as output:
        stream = output.add_stream("flac", rate=SOUND_RATE, layout="stereo")
        resampler = av.AudioResampler("s16", "stereo", SOUND_RATE)
        for turn in range(round(minutes * 60 / SCENE_SECONDS)):
            frame = av.AudioFrame.from_ndarray(passage[np.newaxis], format="flt", layout="mono")
            frame.sample_rate, frame.time_base = 16_000, Fraction(1, 16_000)
            frame.pts = turn * len(passage)
            for part in resampler.resample(frame):
                output.mux(stream.encode(part))
        for part in (*resampler.resample(None), None):
            output.mux(stream.encode(part))
    return path


if __name__ == "__main__":
    sys.exit(main())
