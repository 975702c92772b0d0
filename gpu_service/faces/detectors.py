"""The detectors that may say where the chosen face's box is, beside MediaPipe's landmarks."""

import threading
from importlib.util import find_spec
from pathlib import Path
from typing import Final, Protocol

from contracts.errors import EngineUnavailable
from gpu_service.data import Detection, Edges, Face, Frame
from gpu_service.faces.s3fd import S3fdDetector
from gpu_service.runtimes.base import TORCH_LINE
from gpu_service.settings import Device
from gpu_service.weights.store import WeightsStore

SAME: Final = 0.3
"""Share of two boxes' union from which both show the same face; S3FD itself goes by it too."""
CPU_SIDE: Final = 640
"""Longest side, in pixels, at which S3FD searches a frame on a CPU: 73 billion multiplications,
where 1920 x 1080 pixels take 653. It was trained to find faces of 16 pixels."""


class BoxDetector(Protocol):
    """Finds faces without landmarks."""

    def find(self, frame: Frame) -> list[Detection]:
        """All faces of the frame, the surest first."""


class Detectors:
    """The detectors of this host; each is loaded once, when it is first asked for.

    Args:
        weights: Where their checkpoints are.
        device: Where networks run: `auto`, `cpu` or `cuda`.
    """

    def __init__(self, weights: WeightsStore, device: Device = "auto") -> None:
        self._weights = weights
        self._device = device
        self._loaded: dict[Path, BoxDetector] = {}
        self._lock = threading.Lock()

    def s3fd(self) -> BoxDetector:
        """The detector of Wav2Lip's release.

        Raises:
            CheckpointMissing: Its weights are not installed.
            CheckpointMismatch: They are something else.
            EngineUnavailable: PyTorch is not installed.
        """
        path = self._weights.require("s3fd", "detector")
        with self._lock:
            if path not in self._loaded:
                self._loaded = {path: _load_s3fd(path, self._device)}
            return self._loaded[path]


class Watcher:
    """Says where a detector sees the face that is being followed.

    With landmarks, that is the detection that overlaps them most. Without them, it is the one that
    overlaps the last place most, so a face that turns away is seen until the detector loses it too.

    Args:
        detector: Finds all the faces.
    """

    def __init__(self, detector: BoxDetector) -> None:
        self._detector = detector
        self._last: Edges | None = None

    def find(self, frame: Frame, face: Face | None, *, cut: bool = False) -> Detection | None:
        """The followed face in the next frame; None where the detector does not see it.

        Args:
            frame: The frame.
            face: The face as MediaPipe sees it, if it does.
            cut: Whether the frame begins another scene.
        """
        if cut:
            self._last = None
        near = self._last if face is None else face.box
        if near is None:
            return None  # nobody is followed, and looking is dear
        found = self._detector.find(frame)
        best = max(found, key=lambda each: _overlap(each[:4], near), default=None)
        if best is None or _overlap(best[:4], near) < SAME:
            self._last = None if face is None else face.box
            return None
        self._last = best[:4]
        return best


def _overlap(one: Edges, other: Edges) -> float:
    """The share of two boxes' union that both hold."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(width, 0.0) * max(height, 0.0)
    areas = ((x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in (one, other))
    return shared / (sum(areas) - shared)


def _load_s3fd(path: Path, device: Device) -> BoxDetector:
    if find_spec("torch") is None:
        raise EngineUnavailable("PyTorch is not installed", hint=f"Run: {TORCH_LINE}")
    try:
        from gpu_service.faces.s3fd_network import S3FDRuntime
    except (ImportError, OSError) as error:  # PyTorch raises both where its own parts are gone
        raise EngineUnavailable(
            f"PyTorch can't be loaded: {error}", hint=f"Run: {TORCH_LINE}"
        ) from error
    network = S3FDRuntime(path, device)
    return S3fdDetector(network, CPU_SIDE if network.device == "cpu" else None)
