"""How fast is facewarp here, and near to which limit? Prints JSON; exits with 1 below its goals.

A clip is made through the whole road, from the photo's file to the video's fragments, with the head
moving and with it still, in turns with the floor: one `cv2.remap` of as large a picture, which then
is put on the photo and encoded like the engine's. Each size is measured on one core and on two. The
photos are the portrait in samples/ made larger, with grain and the texture of skin: an encoder has
little to do with a picture that is as smooth as it is without.

    python3 run.py bench facewarp [--rounds N] [--lengths SECONDS ...] [-o FILE]
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.report import alone, peak_mb, write
from contracts.lipsync import LipSyncOptions
from contracts.records import MediaRecord, Record
from gpu_service.compose import Canvas
from gpu_service.data import (
    SPEECH_RATE,
    Box,
    FacePatch,
    FaceTrack,
    Frame,
    Image,
    Progress,
    SpeechChunk,
)
from gpu_service.engines.facewarp.engine import FacewarpAvatar, FacewarpEngine
from gpu_service.faces.detect import find_face
from gpu_service.media.encode import Encoder
from gpu_service.render import RenderRequest, render
from tests.media import babble, portrait, recorded, saved_frame, silence, wav

FPS: Final = 25
CLIP_SECONDS: Final = 4.0
SWAY_SECONDS: Final = 2.0
"""Until the floor's head is where it was, in frames that are all different."""
GRAIN: Final = 1.2
"""Standard deviation of a photo's noise, in levels of each channel."""
PORES: Final = 3.0
"""The same of the skin's texture, which is as coarse as `PORE_PIXELS` says."""
PORE_PIXELS: Final = 1.2
FLOORS: Final = {
    "linear": (cv2.INTER_LINEAR, 1),
    "linear from twice the size": (cv2.INTER_LINEAR, 2),
    "cubic": (cv2.INTER_CUBIC, 1),
}
"""How each pixel is looked up, and how much larger the picture is in which."""
MOST_PREPARE_SECONDS: Final = 0.5
MOST_GROWTH: Final = 1.1
"""Times the processor's seconds for a second of the shortest clip that the longest may take."""


class Size(NamedTuple):
    """A photo, and how large the face is on it."""

    width: int
    height: int
    face_height: int
    """From the forehead to the chin, as the landmarks have it; in pixels."""
    least: dict[int, float]
    """Times real time that it should be on so many cores."""


SIZES: Final = {
    # The head of such a face, and what moves with it, fill the picture.
    "512x768": Size(512, 768, 270, {1: 4.0}),
    "1080p": Size(1920, 1080, 900, {1: 0.8, 2: 1.5}),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and say by the exit status whether it is fast enough."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument(
        "--lengths", type=float, nargs="*", default=[10.0, 60.0], help="of clips, in seconds"
    )
    parser.add_argument("-o", "--output", type=Path, help="also write the JSON there")
    options = parser.parse_args(arguments)
    cores = [count for count in (1, 2) if count <= len(_usable())]
    speeds = {
        f"{size}, {count} core{'s' * (count > 1)}": pinned(count, speed, size, options.rounds)
        for size in options.sizes
        for count in cores
    }
    lengths = [pinned(1, cost, options.sizes[0], seconds) for seconds in options.lengths]
    faults = [fault for name, found in speeds.items() for fault in too_slow(name, found)]
    faults += not_flat(lengths)
    settings = {
        "seconds_of_video": CLIP_SECONDS,
        "fps": FPS,
        "grain_levels": GRAIN,
        "skin_texture_levels": PORES,
        "face_height_px": {name: SIZES[name].face_height for name in options.sizes},
        "times_real_time": "by the clock; cpu_ms_a_frame hardly depends on neighbours",
    }
    write(
        {"settings": settings, "speed": speeds, "length": lengths, "faults": faults}, options.output
    )
    return 1 if faults else 0


def _usable() -> list[int]:
    """The cores this process may use; all of this benchmark needs Linux, as its memory does."""
    return sorted(os.sched_getaffinity(0))


def pinned(num_cores: int, work: Callable[..., Any], *arguments: Any) -> Any:
    """Do it in a process of its own that has so many cores, as all its libraries see."""
    usable = _usable()
    os.sched_setaffinity(0, usable[:num_cores])
    try:
        return alone(work, *arguments)
    finally:
        os.sched_setaffinity(0, usable)


class Watched(FacewarpEngine):
    """The engine, which notes what its own thread spends, and where it draws."""

    def __init__(self) -> None:
        self.draw_seconds = 0.0
        self.prepared = self.prepared_cpu = 0.0
        self.boxes: set[Box] = set()

    def prepare(
        self, track: FaceTrack, options: LipSyncOptions, progress: Progress
    ) -> FacewarpAvatar:
        """Build the portrait of the photo's face."""
        avatar = super().prepare(track, options, progress)
        self.prepared, self.prepared_cpu = time.perf_counter(), time.process_time()
        return avatar

    def render(
        self, avatar: FacewarpAvatar, speech: Iterable[SpeechChunk], options: LipSyncOptions
    ) -> Iterator[FacePatch]:
        """Draw every frame."""
        patches = super().render(avatar, speech, options)
        while True:
            started = time.thread_time()
            patch = next(patches, None)
            self.draw_seconds += time.thread_time() - started
            if patch is None:
                return
            self.boxes.add(patch.box)
            yield patch


class Taken(NamedTuple):
    """What one clip took."""

    wall: float
    """Seconds, once the face is found and prepared."""
    cpu: float
    parts: dict[str, float]
    """Seconds of the processor, by what was done."""
    once: dict[str, float]
    """Seconds by the clock of what is done once a face, and until the first fragment."""
    boxes: set[Box]
    """Where it drew."""
    num_bytes: int


def speed(name: str, rounds: int) -> dict[str, Any]:
    """Every way to make a clip of this size, in turns."""
    size = SIZES[name]
    picture = photo(size)
    face, speech = saved_frame(picture), talk(CLIP_SECONDS)
    ways: dict[str, Callable[[], Taken]] = {
        "natural": lambda: made(face, speech, "natural"),
        "still": lambda: made(face, speech, "still"),
    }
    moving = around(ways["natural"]().boxes)
    for each in FLOORS:
        ways[f"floor, {each}"] = lambda name=each: floor(picture, moving, FLOORS[name])
    taken: dict[str, list[Taken]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way, make in ways.items():
            taken[way].append(make())
    floors = (way for way in ways if way.startswith("floor"))
    least = {way: min(each.cpu for each in taken[way]) for way in floors}
    return {
        "picture_px": [size.width, size.height],
        "drawn_px": {
            way: [box.width, box.height]
            for way in ("natural", "still")
            for box in [around(taken[way][0].boxes)]
        },
        "least_times_real_time": size.least.get(len(_usable())),
        **{way: summary(each, least) for way, each in taken.items()},
    }


def summary(taken: list[Taken], floors: dict[str, float]) -> dict[str, Any]:
    """The best of one way's rounds."""
    num_frames = CLIP_SECONDS * FPS
    cheapest = min(taken, key=lambda each: each.cpu)
    found: dict[str, Any] = {
        "times_real_time": round(CLIP_SECONDS / min(each.wall for each in taken), 2),
        "times_real_time_of_each": [round(CLIP_SECONDS / each.wall, 2) for each in taken],
        "cpu_ms_a_frame": round(1000 * cheapest.cpu / num_frames, 2),
        "times_the": {name: round(cheapest.cpu / least, 2) for name, least in floors.items()},
        "cpu_ms_a_frame_by_part": {
            part: round(1000 * seconds / num_frames, 2) for part, seconds in cheapest.parts.items()
        },
        "kbit_a_second": round(cheapest.num_bytes * 8 / CLIP_SECONDS / 1000),
    }
    for each in taken[0].once:
        found[each] = round(min(one.once[each] for one in taken), 3)
    return found


def made(face: bytes, speech: bytes, motion: str) -> Taken:
    """A clip through the whole road."""
    engine, seen, num_bytes = Watched(), [0.0], 0
    options = LipSyncOptions.model_validate({"motion": motion, "max_height": 1080, "fps": FPS})

    def emit(record: Record, payload: bytes) -> None:
        nonlocal num_bytes
        num_bytes += len(payload)
        if isinstance(record, MediaRecord) and not seen[0]:
            seen[0] = time.perf_counter()

    started = time.perf_counter()
    report = render(RenderRequest(face, speech, options), engine, emit)
    wall, cpu = time.perf_counter() - engine.prepared, time.process_time() - engine.prepared_cpu
    once = {
        "track_seconds": report.stage_seconds["track"],
        "prepare_seconds": report.stage_seconds["prepare"],
        "first_fragment_seconds": seen[0] - started,
        "first_fragment_seconds_after_prepare": seen[0] - engine.prepared,
    }
    # On several cores, OpenCV draws with threads of its own, which are among the others.
    parts = {"drawing thread": engine.draw_seconds, "other threads": cpu - engine.draw_seconds}
    return Taken(wall, cpu, parts, once, engine.boxes, num_bytes)


def floor(picture: Frame, box: Box, look_up: tuple[int, int]) -> Taken:
    """The least that moving this box of the picture can take."""
    sound = recorded(babble(CLIP_SECONDS)[np.newaxis], SPEECH_RATE)
    height, width = picture.shape[:2]
    encoder = Encoder(None, width=width, height=height, fps=Fraction(FPS), sound=sound, label="")
    mode, scale = look_up
    large = cv2.resize(
        picture[box.y1 : box.y2, box.x1 : box.x2],
        (scale * box.width, scale * box.height),
        interpolation=cv2.INTER_LANCZOS4,
    )
    canvas, maps, empty = Canvas(), sways(box, scale), np.empty((0, 0), np.float32)
    parts = dict.fromkeys(("draw", "compose", "encode"), 0.0)
    num_bytes, wall = 0, 0.0

    @contextmanager
    def counted(part: str) -> Iterator[None]:
        nonlocal wall
        clock, cpu = time.perf_counter(), time.process_time()
        yield
        parts[part] += time.process_time() - cpu
        wall += time.perf_counter() - clock

    for index in range(round(CLIP_SECONDS * FPS)):
        place = maps[index % len(maps)]
        with counted("draw"):
            drawn = cv2.remap(large, place, empty, mode, borderMode=cv2.BORDER_REPLICATE)
        with counted("compose"):
            patch = FacePatch(index, box, np.asarray(drawn, np.uint8))
            pixels, changed = canvas.show(picture, patch)
        with counted("encode"):
            num_bytes += sum(len(part.data) for part in encoder.write(pixels, changed))
    with counted("encode"):
        num_bytes += sum(len(part.data) for part in encoder.finish())
    return Taken(wall, sum(parts.values()), parts, {}, {box}, num_bytes)


def sways(box: Box, scale: int) -> list[NDArray[np.float32]]:
    """(height, width, 2) for each frame of a sway: where in the enlarged box its pixels come from.

    It fades out towards the edges, as a head's motion does.
    """
    x, y = np.meshgrid(
        np.arange(box.width, dtype=np.float32), np.arange(box.height, dtype=np.float32)
    )
    across, down = np.minimum(x, box.width - 1 - x), np.minimum(y, box.height - 1 - y)
    share = np.clip(np.minimum(across / box.width, down / box.height) * 4, 0, 1)
    share = share * share * (3 - 2 * share)
    reach = 0.01 * box.height
    maps = []
    for phase in 2 * np.pi * np.arange(round(SWAY_SECONDS * FPS)) / (SWAY_SECONDS * FPS):
        sideways, nod = reach * np.sin(phase), reach / 2 * np.sin(2 * phase + 1)
        place = np.stack((x + sideways * share, y + nod * share), axis=2)
        maps.append((place * scale + (scale - 1) / 2).astype(np.float32))
    return maps


def cost(name: str, seconds: float) -> dict[str, Any]:
    """What a clip of that length takes, and how much memory."""
    face, speech = alone(files, name, seconds)
    engine, before = Watched(), peak_mb()
    request = RenderRequest(face, speech, LipSyncOptions(motion="natural"))
    report = render(request, engine, lambda _record, _payload: None)
    spent = time.process_time() - engine.prepared_cpu
    return {
        "seconds": seconds,
        "size": name,
        "num_frames": report.num_frames,
        "cpu_seconds_a_second": round(spent / report.seconds, 4),
        "peak_mb_before": before,
        "peak_mb": peak_mb(),
        # The sound is held whole, decoded, as well as the upload is.
        "sound_mb": round(2 * len(speech) / 1e6, 1),
    }


def files(name: str, seconds: float) -> tuple[bytes, bytes]:
    """A face and speech, made where their making takes no memory of what is measured."""
    return saved_frame(photo(SIZES[name])), talk(seconds)


def too_slow(name: str, found: dict[str, Any]) -> list[str]:
    """What misses its goal, in words."""
    faults, least = [], found["least_times_real_time"]
    natural = found["natural"]
    if least and natural["times_real_time"] < least:
        faults.append(f"{name}: {natural['times_real_time']} times real time, not {least}")
    if natural["prepare_seconds"] > MOST_PREPARE_SECONDS:
        faults.append(f"{name}: {natural['prepare_seconds']} s to prepare")
    return faults


def not_flat(lengths: list[dict[str, Any]]) -> list[str]:
    """Where a longer clip takes more than its length says, in words."""
    faults = []
    for first, each in zip(lengths[:1] * len(lengths), lengths[1:], strict=False):
        if each["cpu_seconds_a_second"] > MOST_GROWTH * first["cpu_seconds_a_second"]:
            faults.append(f"{each['seconds']:g} s cost more a second than {first['seconds']:g} s")
        held = each["sound_mb"] - first["sound_mb"]
        if each["peak_mb"] > MOST_GROWTH * first["peak_mb"] + held:
            faults.append(f"{each['seconds']:g} s take more memory than {first['seconds']:g} s")
    return faults


def photo(size: Size) -> Frame:
    """The portrait at this size, its face in the middle as far as the picture reaches."""
    picture = portrait()
    box = find_face(picture).box
    scale = size.face_height / box.height
    width, height = round(size.width / scale), round(size.height / scale)
    across, down = (box.x1 + box.x2 - width) // 2, (box.y1 + box.y2 - height) // 2
    left = min(max(across, 0), picture.shape[1] - width)
    top = min(max(down, 0), picture.shape[0] - height)
    part = picture[top : top + height, left : left + width]
    large = cv2.resize(part, (size.width, size.height), interpolation=cv2.INTER_CUBIC)
    return textured(np.asarray(large, np.uint8))


def textured(picture: Image) -> Frame:
    """The picture with the grain of a photo and the texture of skin."""
    chance = np.random.default_rng(0)
    pores = chance.standard_normal(picture.shape[:2]).astype(np.float32)
    pores = np.asarray(cv2.GaussianBlur(pores, (0, 0), PORE_PIXELS), np.float32)
    pores *= PORES / pores.std()
    grain = GRAIN * chance.standard_normal(picture.shape).astype(np.float32)
    return np.clip(np.rint(picture + pores[..., None] + grain), 0, 255).astype(np.uint8)


def talk(seconds: float) -> bytes:
    """Made-up speech with a pause in every ten seconds, as a WAV file."""
    passage = np.concatenate((babble(9.2), silence(0.8)))
    samples = np.resize(passage, round(seconds * SPEECH_RATE))
    return wav(samples[np.newaxis], SPEECH_RATE)


def around(boxes: set[Box]) -> Box:
    """The smallest box that holds them all."""
    edges = np.array(sorted(boxes))
    x1, y1 = (int(edge) for edge in edges[:, :2].min(axis=0))
    x2, y2 = (int(edge) for edge in edges[:, 2:].max(axis=0))
    return Box(x1, y1, x2, y2)


if __name__ == "__main__":
    sys.exit(main())
