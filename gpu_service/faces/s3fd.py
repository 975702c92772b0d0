"""From pictures to the input of the detector S3FD, and from its output to boxes of faces.

Source: Rudrabha/Wav2Lip face_detection/detection/sfd/{detect,bbox}.py @5c90fa9, rewritten from a
description; decoding as in Liu et al., "SSD: Single Shot MultiBox Detector", 2016, section 2.2.
"""

from collections.abc import Callable, Sequence
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from gpu_service.data import Detection, Frame

Heads = Sequence[NDArray[np.float32]]
"""Scores (B, 2, h, w) and places (B, 4, h, w) for each stride, as S3FD returns them."""
ScoredBoxes = NDArray[np.float32]
"""(N, 5) x1, y1, x2, y2 in pixels, not cut at the picture's edges, and a score in [0, 1]."""

_MEAN: Final = np.array((104.0, 117.0, 123.0), np.float32)
"""Published with the weights; subtracted from R, G and B although it is the mean of B, G and R."""
_CANDIDATE: Final = 0.05
"""Score from which a cell takes part."""
_FACE: Final = 0.5
"""Score from which a box counts as a face."""
_OVERLAP: Final = 0.3
"""Share of two boxes' union above which both show the same face."""


class S3fdDetector:
    """Finds faces with S3FD.

    Args:
        network: Gives the heads of pictures that are as `network_input` makes them.
        longest_side: Larger frames are searched at this size, in pixels; None searches every frame
            as it is, which is what the release does.
    """

    def __init__(
        self, network: Callable[[NDArray[np.float32]], Heads], longest_side: int | None = None
    ) -> None:
        self._network = network
        self._longest_side = longest_side

    def find(self, frame: Frame) -> list[Detection]:
        """All faces of the frame, the surest first."""
        height, width = frame.shape[:2]
        searched = frame
        if self._longest_side and max(height, width) > self._longest_side:
            scale = self._longest_side / max(height, width)
            size = (max(round(scale * width), 1), max(round(scale * height), 1))
            searched = np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), np.uint8)
        across, down = width / searched.shape[1], height / searched.shape[0]
        (boxes,) = find_boxes(self._network(network_input(searched[np.newaxis])))
        to_frame = np.array((across, down, across, down, 1.0))
        return [Detection(*box) for box in (boxes * to_frame).tolist()]


def network_input(frames: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(B, H, W, 3) BGR -> (B, 3, H, W) as the network was trained on it."""
    rgb = frames[..., ::-1].astype(np.float32) - _MEAN
    return np.ascontiguousarray(rgb.transpose(0, 3, 1, 2))


def find_boxes(heads: Heads) -> list[ScoredBoxes]:
    """The faces of each picture, the surest first."""
    candidates = candidate_boxes(heads)
    found = []
    for image in range(candidates.shape[1]):
        boxes = candidates[:, image]
        kept = boxes[distinct(boxes)]
        found.append(kept[kept[:, 4] > _FACE])
    return found


def candidate_boxes(heads: Heads) -> NDArray[np.float32]:
    """A box of every picture for each cell that may hold a face in one of them.

    Returns:
        (N, B, 5); a cell that fires in several pictures is there once for each.
    """
    found = [np.zeros((0, len(heads[0]), 5), np.float32)]
    for level, (scores, places) in enumerate(zip(heads[::2], heads[1::2], strict=True)):
        raised = np.exp(scores - scores.max(axis=1, keepdims=True))
        probability = raised[:, 1] / raised.sum(axis=1)
        _, rows, columns = np.nonzero(probability > _CANDIDATE)
        stride = 4 << level
        boxes = _boxes(places[:, :, rows, columns], rows, columns, stride)
        score = probability[:, rows, columns].T[..., None]
        found.append(np.concatenate((boxes, score), axis=2))
    return np.concatenate(found)


def _boxes(
    places: NDArray[np.float32], rows: NDArray[np.intp], columns: NDArray[np.intp], stride: int
) -> NDArray[np.float32]:
    """Corners (N, B, 4) of the boxes at these cells of a grid; `places` is (B, 4, N)."""
    side = np.float32(4 * stride)
    # One square anchor a cell, four strides wide.
    anchor = (np.stack((columns, rows)) * stride + stride / 2).astype(np.float32)
    centre = anchor + places[:, :2] * np.float32(0.1) * side
    size = side * np.exp(places[:, 2:] * np.float32(0.2))
    corner = centre - size / 2
    return np.concatenate((corner, corner + size), axis=1).transpose(2, 0, 1)


def distinct(boxes: ScoredBoxes) -> NDArray[np.intp]:
    """Indices of the boxes that show faces of their own, the surest first.

    Greedy non-maximum suppression in which edges count as part of a box, as trained with.
    """
    sizes = boxes[:, 2:4] - boxes[:, :2] + 1
    area = sizes.prod(axis=1)
    left = boxes[:, 4].argsort()[::-1]
    kept: list[np.intp] = []
    while len(left):
        best, left = left[0], left[1:]
        kept.append(best)
        upper = np.maximum(boxes[best, :2], boxes[left, :2])
        lower = np.minimum(boxes[best, 2:4], boxes[left, 2:4])
        shared = np.maximum(lower - upper + 1, 0).prod(axis=1)
        left = left[shared / (area[best] + area[left] - shared) <= _OVERLAP]
    return np.array(kept, np.intp)
