"""Wav2Lip's SyncNet as a measure: how well five frames of a mouth fit the speech under them."""

from collections import deque
from collections.abc import Callable, Sequence
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from contracts.errors import EngineUnavailable
from gpu_service.audio.mel import WINDOW_COLUMNS, Mel
from gpu_service.data import Image
from gpu_service.engines.wav2lip.hearing import window_start
from gpu_service.engines.wav2lip.preprocess import HIDDEN_ROW, Floats
from gpu_service.runtimes.base import TORCH_LINE
from gpu_service.settings import Device

SYNCNET_FPS: Final = Fraction(25)
"""The rate of the videos that it was trained on."""
REACH: Final = 15
"""Frames before and after by which the mouth is shifted in search of the best fit."""
SEEN_FRAMES: Final = 5
BATCH: Final = 32
"""Windows that are embedded at once: on busy cores, eight at a time took twice as long."""

Towers = Callable[[Floats, Floats], tuple[Floats, Floats]]
"""(B, 1, 80, 16) mel windows and (B, 15, 48, 96) mouths to unit vectors of each, (B, 512)."""


class SyncNetScore(BaseModel):
    """Mean cosine between what SyncNet hears and what it sees, in [0, 1]."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    cosine: float
    """With the sound where it is."""
    best_cosine: float
    """With the sound where it fits best."""
    lag_ms: float
    """There, how late the mouth is; below 0 it is early."""
    num_windows: int
    """How many places of the video were compared."""


def load_towers(path: Path, device: Device) -> Towers:
    """SyncNet with the weights of a file.

    Raises:
        CheckpointMismatch: The file holds something else.
        EngineUnavailable: PyTorch is not installed, or there is no such device.
    """
    if find_spec("torch") is None:
        raise EngineUnavailable("PyTorch is not installed", hint=f"Run: {TORCH_LINE}")
    try:
        from gpu_service.engines.wav2lip.network import SyncNetColor
        from gpu_service.runtimes.torch_runtime import TorchRuntime, load_checkpoint
    except (ImportError, OSError) as error:  # PyTorch raises both where its own parts are gone
        raise EngineUnavailable(
            f"PyTorch can't be loaded: {error}", hint=f"Run: {TORCH_LINE}"
        ) from error
    network = SyncNetColor()
    load_checkpoint(network, path)
    runtime = TorchRuntime(device, "fp32")
    compiled = runtime.compile(network)

    def towers(mels: Floats, mouths: Floats) -> tuple[Floats, Floats]:
        speech, seen = compiled(mels, mouths)
        return runtime.to_numpy(speech), runtime.to_numpy(seen)

    return towers


def network_mouths(crops: Sequence[Image]) -> Floats:
    """(15, 48, 96) in [0, 1]: the lower halves of five face crops, BGR after BGR."""
    halves = np.concatenate([crop[HIDDEN_ROW:] for crop in crops], axis=2) / 255.0
    return np.ascontiguousarray(halves.transpose(2, 0, 1), np.float32)


class SyncNetMeter:
    """Compares a video with its speech as the video is read; keeps two seconds of it at most.

    Window k shows frames k to k + 4 and hears the 16 mel columns from int(80 · k / 25) on, as in
    training. A window in which a face is missing is left out.

    Args:
        towers: The network.
        mel: Of the whole speech, beginning with the first frame.
    """

    def __init__(self, towers: Towers, mel: Mel) -> None:
        self._towers = towers
        self._mel = mel
        self._crops: deque[Image | None] = deque(maxlen=SEEN_FRAMES)
        self._num_frames = 0
        self._waiting: list[tuple[int, Floats]] = []
        self._recent: deque[tuple[int, Floats, Floats]] = deque(maxlen=REACH)
        self._sums: NDArray[np.float64] = np.zeros(2 * REACH + 1)
        self._counts: NDArray[np.int64] = np.zeros(2 * REACH + 1, np.int64)

    def see(self, crop: Image | None) -> None:
        """The face in the next frame at 25 frames per second, (96, 96, 3); None without one."""
        self._crops.append(crop)
        self._num_frames += 1
        start = self._num_frames - SEEN_FRAMES
        crops = [each for each in self._crops if each is not None]
        heard_until = window_start(start, SYNCNET_FPS) + WINDOW_COLUMNS
        if len(crops) < SEEN_FRAMES or heard_until > self._mel.shape[1]:
            return
        self._waiting.append((start, network_mouths(crops)))
        if len(self._waiting) == BATCH:
            self._compare()

    def finish(self) -> SyncNetScore | None:
        """The score; None if not one window shows the face."""
        if self._waiting:
            self._compare()
        if not self._counts[REACH]:
            return None
        # Where the sound is shifted far, few windows of a short video are left to compare.
        enough = self._counts * 2 >= self._counts[REACH]
        means = np.where(enough, self._sums / np.maximum(self._counts, 1), -1.0)
        best = int(means.argmax())
        return SyncNetScore(
            cosine=float(means[REACH]),
            best_cosine=float(means[best]),
            lag_ms=float(1000 * (best - REACH) / SYNCNET_FPS),
            num_windows=int(self._counts[REACH]),
        )

    def _compare(self) -> None:
        """Embed the windows that wait, and compare each with those near it."""
        starts = [window_start(index, SYNCNET_FPS) for index, _ in self._waiting]
        mels = np.stack([self._mel[None, :, at : at + WINDOW_COLUMNS] for at in starts])
        mouths = np.stack([mouth for _, mouth in self._waiting])
        speech, seen = self._towers(mels, mouths)
        for (index, _), heard_now, seen_now in zip(self._waiting, speech, seen, strict=True):
            self._add(0, float(heard_now @ seen_now))
            for before, heard, mouth in self._recent:
                if index - before <= REACH:
                    self._add(index - before, float(heard @ seen_now))
                    self._add(before - index, float(heard_now @ mouth))
            self._recent.append((index, heard_now, seen_now))
        self._waiting.clear()

    def _add(self, late_frames: int, cosine: float) -> None:
        self._sums[REACH + late_frames] += cosine
        self._counts[REACH + late_frames] += 1
