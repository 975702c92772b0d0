"""A stand-in for a face detector, and a host that has it."""

from collections.abc import Sequence
from pathlib import Path

from gpu_service.data import Detection, Frame
from gpu_service.faces.detectors import BoxDetector, Detectors
from gpu_service.weights.store import WeightsStore


class FakeDetector:
    """Says what it was told to say of each frame in turn; the last answer stays.

    Args:
        answers: What it finds in each frame, the surest first.
    """

    def __init__(self, *answers: Sequence[Detection]) -> None:
        self._answers = answers
        self.looked = 0

    def find(self, frame: Frame) -> list[Detection]:
        answer = self._answers[min(self.looked, len(self._answers) - 1)]
        self.looked += 1
        return list(answer)


class FakeDetectors(Detectors):
    """The detectors of a host on which the given one is S3FD."""

    def __init__(self, detector: BoxDetector) -> None:
        super().__init__(WeightsStore(Path("nowhere")))
        self._detector = detector

    def s3fd(self) -> BoxDetector:
        return self._detector
