"""The faces of a video's frames as the network sees them: 0.4 GB for ten minutes, on the disk."""

import threading
import weakref
from collections.abc import Sequence
from tempfile import SpooledTemporaryFile
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gpu_service.data import Image
from gpu_service.engines.wav2lip.preprocess import FACE_SIDE

MEMORY_BYTES: Final = 16_000_000
"""What may lie in memory before all goes into a file: about 20 seconds of faces."""
_SHAPE: Final = (FACE_SIDE, FACE_SIDE, 3)
_CROP_BYTES: Final = FACE_SIDE * FACE_SIDE * 3


class Crops:
    """Faces by source frame; the file goes with this object. Several threads may read."""

    def __init__(self) -> None:
        self._file = SpooledTemporaryFile(max_size=MEMORY_BYTES)  # noqa: SIM115 - lives as long as this
        self._lock = threading.Lock()
        weakref.finalize(self, self._file.close)

    def __setitem__(self, index: int, crop: Image) -> None:
        with self._lock:
            self._file.seek(index * _CROP_BYTES)
            self._file.write(crop.tobytes())

    def __getitem__(self, index: int) -> Image:
        """(96, 96, 3) one that was set."""
        with self._lock:
            self._file.seek(index * _CROP_BYTES)
            data = self._file.read(_CROP_BYTES)
        return np.frombuffer(data, np.uint8).reshape(_SHAPE)

    def of(self, indexes: Sequence[int]) -> NDArray[np.uint8]:
        """(B, 96, 96, 3) several of them."""
        return np.stack([self[index] for index in indexes])
