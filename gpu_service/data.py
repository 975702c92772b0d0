"""The records that flow along the road: frames, boxes, faces, sound, speech and patches."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from contracts.marks import PhonemeMark

SPEECH_RATE = 16_000
"""Sample rate of everything that engines hear, in Hz."""
FULL_SCALE = 32768
"""What viewers hear has 16 bits, as recordings have: floating point takes twice the memory."""

Image = NDArray[np.uint8]
"""(height, width, 3) BGR."""
Frame = Image
"""An Image that fills the output."""
Mask = NDArray[np.uint8]
"""(height, width), 0 keeps the frame, 255 takes the patch."""
Samples = NDArray[np.float32]
"""(num_samples,) mono in [-1, 1] at SPEECH_RATE."""
Landmarks = NDArray[np.float32]
"""(478, 3) MediaPipe face mesh with irises: x, y in pixels, z in pixels towards the back."""
Shifts = NDArray[np.float16]
"""(478, 3) pixels by which landmarks were moved; small, so half precision will do."""
Edges = tuple[float, float, float, float]
"""x1, y1, x2, y2 in pixels."""


class Box(NamedTuple):
    """A rectangle in pixels; the right and lower edges lie outside it."""

    x1: int
    y1: int
    x2: int
    y2: int

    @property
    def width(self) -> int:
        """Pixels from left to right."""
        return self.x2 - self.x1

    @property
    def height(self) -> int:
        """Pixels from top to bottom."""
        return self.y2 - self.y1


class SpeechChunk(NamedTuple):
    """A piece of the speech as engines hear it."""

    samples: Samples
    marks: tuple[PhonemeMark, ...] | None = None
    """Phonemes that begin within this piece, timed from the start of the whole speech; None when
    the voice gives no marks. A voice gives marks for the whole speech or for none of it."""


@dataclass(frozen=True)
class Sound:
    """The upload's own sound, as the viewer will hear it."""

    samples: NDArray[np.int16]
    """(channels, num_samples) of which FULL_SCALE is 1; one or two channels."""
    sample_rate: int
    """Hz."""

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return float(self.samples.shape[1] / self.sample_rate)


class FaceSource(Protocol):
    """A photo or a video, upright, already at the output's size; decoded when asked for."""

    @property
    def kind(self) -> Literal["photo", "video"]:
        """Whether the face stands still or moves."""

    @property
    def width(self) -> int:
        """Even, in pixels."""

    @property
    def height(self) -> int:
        """Even, in pixels."""

    @property
    def scale(self) -> float:
        """Pixels of the output for one pixel of the upload."""

    @property
    def fps(self) -> Fraction | None:
        """None for a photo."""

    def frames(self, first: int = 0) -> Iterator[Frame]:
        """Every source frame in order, from the first that is wanted on; a photo has one."""


@dataclass(frozen=True)
class Face:
    """One face in one source frame."""

    box: Box
    """The landmarks' bounding box, within the frame."""
    landmarks: Landmarks
    spread: float
    """How far the landmarks move when the crop is jittered, in face widths; small is sure."""


class Detection(NamedTuple):
    """A face as a detector saw it: its edges in pixels, neither rounded nor cut at the frame's."""

    x1: float
    y1: float
    x2: float
    y2: float
    score: float
    """In [0, 1]."""


@dataclass(frozen=True)
class FaceTrack:
    """Where the chosen face is in each source frame."""

    source: FaceSource
    fps: Fraction
    """Frame rate of the output."""
    faces: Sequence[Face | None]
    """One entry a source frame; None where no face was found."""
    warnings: tuple[str, ...] = ()
    """What hurts the picture: a dark, turned, blurred or tiny face."""
    source_index: Callable[[int], int] | None = None
    """The source frame that an output frame shows; None starts the source over when it ends."""
    steadied: Sequence[Shifts | None] = ()
    """How far smoothing has moved each face's landmarks from where they were found, for engines to
    which the moment counts more than steadiness; empty where nothing was smoothed."""
    chosen: Sequence[int] = ()
    """Source frames in which the face was chosen, ascending: the first that shows it, and those
    after a cut or after it was away for long. From there on it may be another person's."""
    detections: Sequence[Detection | None] = ()
    """The chosen face in each source frame as `LipSyncOptions.detector` sees it, also where no
    landmarks were found; empty where the landmarks say where the face is."""

    def shown(self, frame_index: int) -> int:
        """The source frame that an output frame shows."""
        if self.source_index is None:
            return frame_index % len(self.faces)
        return self.source_index(frame_index)


class FacePatch(NamedTuple):
    """What an engine draws onto one output frame."""

    frame_index: int
    box: Box
    pixels: Image
    """As large as the box."""
    alpha: Mask | None = None
    """As large as the box; None replaces every pixel."""


Progress = Callable[[str, float, float], None]
"""progress(stage, done, total): called often, from the thread that works."""


def no_progress(stage: str, done: float, total: float) -> None:
    """A Progress that tells nobody."""
    del stage, done, total


def num_frames(num_samples: int, fps: Fraction, sample_rate: int = SPEECH_RATE) -> int:
    """How many frames show speech of that length: max(1, round(seconds · fps))."""
    return max(1, round(Fraction(num_samples, sample_rate) * fps))
