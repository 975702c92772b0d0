"""What the published program does where we do otherwise, for those who want its very frames.

Source: Rudrabha/Wav2Lip inference.py @5c90fa9, rewritten from a description.
"""

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from gpu_service.audio.mel import WINDOW_COLUMNS
from gpu_service.engines.wav2lip.hearing import window_start

SMOOTHED_FRAMES = 5


def window_starts(num_columns: int, fps: Fraction | float) -> list[int]:
    """The first mel column of each frame's window.

    The list ends with the first window that would reach beyond the speech, moved back to its end.
    So the video is up to 0.2 s shorter than the speech.

    Args:
        num_columns: Length of the mel spectrogram, 16 at least.
        fps: Frame rate of the video.
    """
    last = num_columns - WINDOW_COLUMNS
    starts: list[int] = []
    while (start := window_start(len(starts), fps)) <= last:
        starts.append(start)
    return [*starts, last]


def smooth_boxes(boxes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Average each frame's box with those of the next four, which makes it lead.

    At the end, the last five frames are averaged although the first of them are smooth already; of
    three or four frames in all, only the last ones count.

    Args:
        boxes: (num_frames, 4) in pixels.
    """
    smooth = boxes.copy()
    for index in range(len(smooth)):
        ahead = index + SMOOTHED_FRAMES <= len(smooth)
        first = index if ahead else len(smooth) - SMOOTHED_FRAMES
        window = smooth[first : index + SMOOTHED_FRAMES] if ahead else smooth[first:]
        smooth[index] = window.mean(axis=0).astype(np.int64)
    return smooth
