"""The boxes that the network looks into, from landmarks and from a detector."""

from fractions import Fraction

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from contracts.lipsync import LipSyncOptions
from gpu_service.data import Box, Detection, Face, FaceTrack, no_progress
from gpu_service.engines.wav2lip.boxes import face_box, face_boxes, parse_pads
from gpu_service.engines.wav2lip.published import smooth_boxes
from gpu_service.faces.detect import bounding_box, find_face
from gpu_service.faces.track import track_faces
from tests.media import Film, Photo, portrait

WALK = np.random.default_rng(3).integers(-3, 4, (12, 2)).cumsum(axis=0) + 150
"""Where a face stands in twelve frames."""


def face_at(x: float, y: float) -> Face:
    """A face whose outline fills 100 by 130 pixels."""
    landmarks = np.full((478, 3), (x, y, 0), np.float32)
    landmarks[152, :2] = (x + 100, y + 130)
    return Face(bounding_box(landmarks, 512, 512), landmarks, 0.0)


def detected(x: float, y: float) -> Detection:
    return Detection(x + 0.9, y + 0.9, x + 90.9, y + 120.9, 0.9)


def boxes_of(
    faces: list[Face | None], detections: list[Detection | None] | None = None, **options: str
) -> list[Box | None]:
    track = FaceTrack(Photo(portrait()), Fraction(25), faces, detections=detections or ())
    return face_boxes(track, LipSyncOptions.model_validate({"pads": "0,0,0,0", **options}))


def test_the_box_runs_from_the_hairline_to_the_chin_and_from_cheek_to_cheek() -> None:
    landmarks = find_face(portrait()).landmarks
    box = face_box(landmarks, (0, 0, 0, 0), 512, 512)
    assert box.y1 == pytest.approx(landmarks[10, 1], abs=1)
    assert box.y2 == pytest.approx(landmarks[152, 1], abs=2)
    assert box.width == pytest.approx(landmarks[454, 0] - landmarks[234, 0], rel=0.05)
    mouth = (landmarks[13, 1] - box.y1) / box.height
    assert 0.6 < mouth < 0.8, "the mouth belongs into the half that is drawn anew"


def test_pads_move_the_edges_and_stop_at_the_frame() -> None:
    landmarks = find_face(portrait()).landmarks
    plain = face_box(landmarks, (0, 0, 0, 0), 512, 512)
    padded = face_box(landmarks, (1, 10, 2, -3), 512, 512)
    assert padded == Box(plain.x1 - 2, plain.y1 - 1, plain.x2 - 3, plain.y2 + 10)
    assert face_box(landmarks, (900, 900, 900, 900), 512, 512) == Box(0, 0, 512, 512)
    assert min(face_box(landmarks, (-900,) * 4, 512, 512)[2:]) > 0


def test_pads_count_in_pixels_of_the_upload() -> None:
    assert parse_pads("0,10,-4,2", 0.5) == (0, 5, -2, 1)


def test_a_detected_box_is_cut_to_whole_pixels_before_it_is_padded() -> None:
    detection = Detection(-4.2, 20.9, 100.0, 140.2, 0.8)
    for pads, box in (("0,10,0,0", (0, 20, 100, 150)), ("30,500,-5,2", (5, 0, 102, 512))):
        assert boxes_of([face_at(0, 0)], [detection], pads=pads) == [Box(*box)]


def test_the_detectors_box_counts_and_the_landmarks_where_it_finds_none() -> None:
    faces: list[Face | None] = [face_at(150, 150)] * 2
    assert boxes_of(faces, [detected(160, 140), None]) == [
        Box(160, 140, 250, 260),
        Box(150, 150, 250, 280),
    ]


def test_a_face_without_landmarks_has_a_box_only_where_nothing_is_blended() -> None:
    found: list[Detection | None] = [detected(160, 140)] * 2
    faces = [face_at(150, 150), None]
    assert boxes_of(faces, found, paste="box") == [Box(160, 140, 250, 260)] * 2
    assert boxes_of(faces, found, paste="blend")[1] is None


def test_released_smoothing_averages_padded_boxes_as_published() -> None:
    faces: list[Face | None] = [face_at(x, y) for x, y in WALK]
    found: list[Detection | None] = [detected(x, y) for x, y in WALK]
    for detections, width, height in ((None, 100, 130), (found, 90, 120)):
        raw = np.array([(x, y, x + width, y + height + 10) for x, y in WALK])
        smooth = boxes_of(faces, detections, smoothing="release", pads="0,10,0,0")
        assert smooth == [Box(*box) for box in smooth_boxes(raw).tolist()]
        assert boxes_of(faces, detections, smoothing="none", pads="0,10,0,0") == [
            Box(*box) for box in raw.tolist()
        ]


def test_released_smoothing_ends_at_a_gap() -> None:
    faces = [face_at(x, y) for x, y in WALK]
    gap: list[Face | None] = [*faces[:6], None, *faces[6:]]
    smooth = boxes_of(gap, smoothing="release")
    assert smooth[6] is None
    assert smooth[:6] == boxes_of([*faces[:6]], smoothing="release")
    assert smooth[7:] == boxes_of([*faces[6:]], smoothing="release")


def filmed_with_noise(steps: list[float]) -> Film:
    """The portrait, moved to the right by so many pixels, filmed in a dim room."""
    noise = np.random.default_rng(0)
    frames = []
    for step in steps:
        shift = np.array([[1, 0, step], [0, 1, 0]], np.float32)
        moved = cv2.warpAffine(portrait(), shift, (512, 512), flags=cv2.INTER_CUBIC)
        grainy = moved + noise.normal(0, 6, moved.shape)
        frames.append(np.clip(np.rint(grainy), 0, 255).astype(np.uint8))
    return Film(*frames)


def edges_of(film: Film, smoothing: str) -> NDArray[np.float64]:
    """(num_frames, 4) the boxes' edges."""
    options = LipSyncOptions.model_validate({"smoothing": smoothing})
    track = track_faces(film, Fraction(25), options, no_progress)
    return np.array(face_boxes(track, options), np.float64)


def trembling(edges: NDArray[np.float64]) -> float:
    """Root mean square of the change of speed."""
    return float(np.sqrt(np.square(np.diff(edges, n=2, axis=0)).mean()))


def test_the_box_of_a_still_face_trembles_far_less_than_the_detector() -> None:
    film = filmed_with_noise([0.0] * 20)
    raw, steady = (trembling(edges_of(film, smoothing)) for smoothing in ("none", "centred"))
    assert raw > 0.5
    assert steady < 0.3 * raw


def test_a_face_that_moves_evenly_is_steadied_and_not_held_back() -> None:
    steps = [1.6 * index for index in range(20)]
    film = filmed_with_noise(steps)
    raw, steady, released = (
        edges_of(film, smoothing)[:, ::2].mean(axis=1) - steps
        for smoothing in ("none", "centred", "release")
    )
    assert steady.std() < raw.std()
    assert abs(steady.mean() - raw.mean()) < 0.25
    assert released.mean() - raw.mean() > 1.6, "the release is ahead by more than a frame"


def test_an_edge_that_is_a_little_off_stays_and_one_that_moves_follows() -> None:
    xs = [100.4, 100.6, 100.3, 100.7, 101.2, 101.9, 140.0]
    faces: list[Face | None] = [face_at(x, 50) for x in xs]
    found = [box and box.x1 for box in boxes_of([*faces, None, faces[1]])]
    assert found[-2:] == [None, 101]
    assert [box and box.x1 for box in boxes_of(faces, smoothing="none")] == [
        100, 101, 100, 101, 101, 102, 140,
    ]  # fmt: skip
    # `face_boxes` is given faces that are smooth already.
    assert found[:7] == [100, 100, 100, 100, 101, 102, 140]
