"""An engine with weights, whose loading a test can hold."""

import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, Final

from contracts.errors import CheckpointMismatch
from gpu_service.weights.registry import weights_named
from gpu_service.weights.store import WeightsStore
from tests.fakes.engine import CountingEngine

WEIGHTY: Final = {"weighty": f"{__name__}:Weighty"}
LONGEST_WAIT_SECONDS: Final = 30


class Weighty(CountingEngine):
    """Counts, with the weights `s3fd`: a file that says `unfit` does not fit, one that says `large`
    is more than the device holds."""

    info = CountingEngine.info.model_copy(
        update={"name": "weighty", "needs": ("s3fd",), "checkpoints": ("s3fd", "wav2lip")}
    )
    device, runtime, precision = "cuda", "torch", "bf16"
    gate: ClassVar = threading.Event()
    """Loading ends only while it is open."""
    begun: ClassVar[list[Path]] = []
    """The file of each load."""
    at_once: ClassVar[list[int]] = [0]
    """How many loads ran after each that began or ended."""
    last: ClassVar[Callable[[], "Weighty | None"]]
    """The one that was made last, while anybody holds it."""
    _lock: ClassVar = threading.Lock()

    @classmethod
    def forget(cls) -> None:
        """Begin anew, with the gate open."""
        cls.gate.set()
        cls.begun.clear()
        cls.at_once[:] = [0]

    def __init__(self, weights: WeightsStore, device: str) -> None:
        type(self).last = weakref.ref(self)
        self.file = weights.require("s3fd")
        self.begun.append(self.file)
        self._count(1)
        assert self.gate.wait(LONGEST_WAIT_SECONDS), "nobody opened the gate"
        self._count(-1)
        content = self.file.read_bytes()
        if content == b"unfit":
            raise CheckpointMismatch("it holds something else")
        if content == b"large":
            raise RuntimeError("CUDA out of memory")

    def _count(self, more: int) -> None:
        with self._lock:
            self.at_once.append(self.at_once[-1] + more)


def install(folder: Path, content: bytes) -> None:
    """Have these be the weights `s3fd`."""
    file = folder / "new.pth"
    file.write_bytes(content)
    WeightsStore(folder).add(file, weights_named("s3fd"), lambda *_: None)
