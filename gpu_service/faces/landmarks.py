"""The face mesh: a picture in, 478 three-dimensional landmarks of each face out."""

import functools
import threading

import cv2
import numpy as np
from mediapipe.python.solutions import face_mesh as mediapipe_face_mesh

from gpu_service.data import Image, Landmarks

MAX_FACES = 8


class FaceMesh:
    """MediaPipe's face mesh, safe to call from any thread.

    Building one takes a tenth of a second and its graph runs one picture at a time, so an object
    is shared (`face_mesh`) and its calls queue.

    Args:
        min_confidence: How sure the face detector must be, in [0, 1].
    """

    def __init__(self, min_confidence: float) -> None:
        self._lock = threading.Lock()
        self._graph = mediapipe_face_mesh.FaceMesh(
            static_image_mode=True,
            max_num_faces=MAX_FACES,
            refine_landmarks=True,
            min_detection_confidence=min_confidence,
        )

    def find(self, image: Image) -> list[Landmarks]:
        """The landmarks of each face in the picture, in pixels, in no particular order."""
        height, width = image.shape[:2]
        rgb = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
        with self._lock:
            found = self._graph.process(rgb).multi_face_landmarks or ()
        # z comes in units of the picture's width.
        scale = np.array([width, height, width], np.float32)
        return [
            np.array([(p.x, p.y, p.z) for p in face.landmark], np.float32) * scale for face in found
        ]


@functools.cache
def face_mesh(min_confidence: float) -> FaceMesh:
    """The process's face mesh of that confidence, built at its first use."""
    return FaceMesh(min_confidence)
