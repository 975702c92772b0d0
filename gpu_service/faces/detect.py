"""Finds the faces of a picture in stages, steadies their landmarks, and refuses what is none."""

from collections.abc import Iterator, Sequence

import cv2
import numpy as np

from contracts.errors import FaceTooSmall, NoFaceFound
from contracts.limits import MIN_FACE_PX
from gpu_service.data import Box, Face, Image, Landmarks
from gpu_service.faces.landmarks import face_mesh
from gpu_service.faces.refusals import nobody, too_small

SURE = 0.5
"""Confidence of the face detector at which few things but faces pass, in [0, 1]."""
UNSURE = 0.15
"""Confidence that finds tilted and dim faces too; what else it finds, `refine` refuses."""
SEARCH_SIDE = 1280
"""Longest side of the picture that is searched, in pixels."""
SURELY = 0.15
"""The detector misses some faces below a tenth of the longer side of what it is shown, and hardly
one above this share of it."""
TILE_SIDE = 8 * MIN_FACE_PX
"""Side of the smallest parts that are searched, in pixels: the least face is seen in them."""
CROP_SIDE = 512
"""Side of the crops on which landmarks are refined, in pixels."""
MAX_SPREAD = 0.011
"""Landmarks of a true face stay within this many face widths when the crop is jittered. Of 172
pictures of faces, photos, paintings and drawings, all but two did, at most 0.0102; of 511 of other
things one did, a plate's rim 33 pixels wide, and the next came to 0.012, a cat."""
# Shift right and down, in face extents, and zoom of each crop.
_JITTER = ((0.0, 0.0, 1.0), (0.03, 0.02, 1.04), (-0.03, 0.02, 0.96), (0.0, -0.03, 1.08))
# Two opposite moves for each frame of a video: half the time, and the noise of 4 crops by 1.5.
_FOLLOW_JITTER = _JITTER[1:3]
_LEFT_EAR, _RIGHT_EAR = 234, 454
_FOREHEAD, _CHIN = 10, 152


def find_face(frame: Image, choice: str = "largest") -> Face:
    """The chosen face of a picture: the first of `find_faces`."""
    return find_faces(frame, choice)[0]


def find_faces(frame: Image, choice: str = "largest", scale: float = 1.0) -> list[Face]:
    """The chosen face of a picture, then the others that were met in finding it.

    Args:
        frame: The picture.
        choice: `largest`, an index from the left, or a point `x,y` within the face.
        scale: Pixels of the picture for one pixel of the choice.

    Raises:
        NoFaceFound: There is no such face.
        FaceTooSmall: The face is too small to animate.
    """
    height, width = frame.shape[:2]
    if min(height, width) < MIN_FACE_PX:
        raise FaceTooSmall(
            f"the picture is {width}x{height} pixels; a face of {MIN_FACE_PX} has no room in it"
        )
    faces: list[Face] = []
    unsure: list[Face] = []
    chosen = None
    for faces, part in zip(search(frame, unsure), _parts(height, width), strict=True):
        # An index counts every face, also those that only a later stage finds.
        chosen = None if choice.isdigit() else choose(faces, choice, scale)
        if chosen is None:
            continue
        if choice != "largest" or face_width(chosen.landmarks) > SURELY * part:
            break
    chosen = chosen or choose(faces, choice, scale)
    if chosen is None:
        raise misfit(faces, choice, scale) if faces else nobody(frame, unsure, scale)
    across = face_width(chosen.landmarks)
    if round(across) < MIN_FACE_PX:
        raise too_small(across, frame, scale)
    return [chosen, *(face for face in faces if face is not chosen)]


def misfit(faces: Sequence[Face], choice: str, scale: float) -> NoFaceFound:
    """The error where there are faces, but not the one that was chosen."""
    return NoFaceFound(
        f"no face fits the choice {choice!r}; found: {places(faces, scale)}",
        hint="Choose `largest`, an index from the left beginning with 0, or a point on a face.",
        field="face",
    )


def places(faces: Sequence[Face], scale: float) -> str:
    """Where the faces are and how sure that they are faces, in words.

    Args:
        faces: Those that were found.
        scale: Pixels of their picture for one pixel of the upload, in which the words count.
    """
    told = []
    for index, face in enumerate(from_left(faces)):
        corners = ", ".join(str(round(edge / scale)) for edge in face.box)
        told.append(f"face={index} at ({corners}), score {1 - face.spread / MAX_SPREAD:.2f}")
    return "; ".join(told)


def search(frame: Image, unsure: list[Face] | None = None) -> Iterator[list[Face]]:
    """The faces found so far, after each stage of a search that grows more thorough.

    Args:
        frame: The picture.
        unsure: Gets what looked like faces at first and was refused.
    """
    faces: list[Face] = []
    for candidates in _stages(frame):
        for candidate in candidates:
            if any(_same(candidate, face.landmarks) for face in faces):
                continue
            face = steadied(frame, candidate)
            if face is None or any(_same(face.landmarks, f.landmarks) for f in faces):
                continue
            if face.spread <= MAX_SPREAD:
                faces.append(face)
            elif unsure is not None:
                unsure.append(face)
        yield faces


def choose(faces: Sequence[Face], choice: str, scale: float = 1.0) -> Face | None:
    """The face that a choice names, or None where it names none of them; see `find_faces`."""
    if not faces:
        return None
    if choice == "largest":
        return max(faces, key=lambda face: face_width(face.landmarks))
    if "," in choice:
        x, y = (int(int(part) * scale) for part in choice.split(","))
        hit = [f for f in faces if f.box.x1 <= x < f.box.x2 and f.box.y1 <= y < f.box.y2]
        return min(hit, key=lambda face: face_width(face.landmarks), default=None)
    return from_left(faces)[int(choice)] if int(choice) < len(faces) else None


def from_left(faces: Sequence[Face]) -> list[Face]:
    """The faces in the order in which an index counts them."""
    return sorted(faces, key=lambda face: face.box.x1 + face.box.x2)


def face_width(landmarks: Landmarks) -> float:
    """Pixels from ear to ear."""
    return float(np.linalg.norm(landmarks[_LEFT_EAR, :2] - landmarks[_RIGHT_EAR, :2]))


def follow(frame: Image, face: Face) -> Face | None:
    """The same face in the next frame of a video; None where it is not near its old place."""
    return refine(frame, face.landmarks, _FOLLOW_JITTER)


def refine(
    frame: Image, landmarks: Landmarks, jitter: tuple[tuple[float, float, float], ...] = _JITTER
) -> Face | None:
    """Steadier landmarks; None where it is no face.

    A picture of something else gives landmarks too, but they move when the crop moves.
    """
    face = steadied(frame, landmarks, jitter)
    return face if face is not None and face.spread <= MAX_SPREAD else None


def steadied(
    frame: Image, landmarks: Landmarks, jitter: tuple[tuple[float, float, float], ...] = _JITTER
) -> Face | None:
    """The mean landmarks over jittered crops; None where one of the crops shows none."""
    found = [_in_crop(frame, landmarks, *moved) for moved in jitter]
    sure = [points for points in found if points is not None]
    if len(sure) < len(jitter):
        return None
    stack = np.stack(sure)
    mean = stack.mean(axis=0)
    spread = np.linalg.norm((stack - mean)[..., :2], axis=2)
    # In space: a turned face is narrower in the picture, but its landmarks are no less sure.
    width = float(np.linalg.norm(mean[_LEFT_EAR] - mean[_RIGHT_EAR]))
    score = float(spread.mean()) / max(width, 1.0)
    return Face(bounding_box(mean, frame.shape[1], frame.shape[0]), mean.astype(np.float32), score)


def _stages(frame: Image) -> Iterator[list[Landmarks]]:
    scale = min(1.0, SEARCH_SIDE / max(frame.shape[:2]))
    small = _shrunk(frame, scale)
    for confidence in (SURE, UNSURE):
        yield [points / scale for points in face_mesh(confidence).find(small)]
    yield [points / scale for turns in (1, 3, 2) for points in _found_turned(small, turns)]
    height, width = frame.shape[:2]
    for parts in (2, 3):
        yield list(_in_tiles(frame, -(-height // parts), -(-width // parts)))
    if max(height, width) > 3 * TILE_SIDE:
        yield list(_in_tiles(frame, min(TILE_SIDE, height), min(TILE_SIDE, width)))


def _parts(height: int, width: int) -> list[int]:
    """The longer side of what each of `_stages` shows the detector at once, in pixels."""
    longer = max(height, width)
    return [longer] * 3 + [longer // 2, longer // 3] + [TILE_SIDE] * (longer > 3 * TILE_SIDE)


def _found_turned(image: Image, turns: int, confidence: float = SURE) -> Iterator[Landmarks]:
    """Faces of the picture when it is turned; the detector misses those that lie or hang.

    Args:
        image: The picture.
        turns: Counter-clockwise, by 90 degrees each.
        confidence: Of the face detector.
    """
    height, width = image.shape[:2]
    for points in face_mesh(confidence).find(np.ascontiguousarray(np.rot90(image, turns))):
        x, y = points[:, 0].copy(), points[:, 1].copy()
        match turns % 4:
            case 1:
                points[:, 0], points[:, 1] = width - y, x
            case 2:
                points[:, 0], points[:, 1] = width - x, height - y
            case 3:
                points[:, 0], points[:, 1] = y, height - x
        yield points


def roll(landmarks: Landmarks) -> float:
    """By how many degrees the face is turned in the picture, clockwise: 0 upright, 180 hanging."""
    x, y = landmarks[_CHIN, :2] - landmarks[_FOREHEAD, :2]
    return float(np.degrees(np.arctan2(-x, y)))


def _quarter_turns(landmarks: Landmarks) -> int:
    """How often the picture must be turned, counter-clockwise, for the face to stand upright."""
    return round(roll(landmarks) / 90) % 4


def _shrunk(image: Image, scale: float) -> Image:
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8)


def _in_tiles(frame: Image, side_y: int, side_x: int) -> Iterator[Landmarks]:
    """Faces of half-overlapping tiles of that size."""
    height, width = frame.shape[:2]
    for y in _starts(height, side_y):
        for x in _starts(width, side_x):
            tile = frame[y : y + side_y, x : x + side_x]
            scale = min(1.0, SEARCH_SIDE / max(tile.shape[:2]))
            for points in face_mesh(SURE).find(_shrunk(tile, scale)):
                yield points / scale + np.array([x, y, 0], np.float32)


def _starts(length: int, side: int) -> list[int]:
    """Where tiles begin that cover a length, each overlapping the next by half or more."""
    count = -(-2 * (length - side) // side) + 1
    return [round(start) for start in np.linspace(0, length - side, count)]


def _in_crop(
    frame: Image, landmarks: Landmarks, shift_x: float, shift_y: float, zoom: float
) -> Landmarks | None:
    """Landmarks found again in a square crop around the face."""
    low, high = landmarks[:, :2].min(axis=0), landmarks[:, :2].max(axis=0)
    extent = float((high - low).max())
    if extent < 4:
        return None
    half = 0.9 * extent * zoom
    corner = (low + high) / 2 + extent * np.array([shift_x, shift_y]) - half
    scale = CROP_SIDE / (2 * half)
    to_crop = np.array([[scale, 0, -scale * corner[0]], [0, scale, -scale * corner[1]]])
    # Shrinking by a plain warp would alias; area filtering comes first where it matters.
    factor = max(1, int(1 / scale))
    crop = cv2.warpAffine(
        frame,
        to_crop * factor,
        (CROP_SIDE * factor, CROP_SIDE * factor),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    if factor > 1:
        crop = cv2.resize(crop, (CROP_SIDE, CROP_SIDE), interpolation=cv2.INTER_AREA)
    found = [
        points / scale + np.array([corner[0], corner[1], 0], np.float32)
        for points in _found_turned(np.asarray(crop, np.uint8), _quarter_turns(landmarks), UNSURE)
    ]
    same = [points for points in found if _same(points, landmarks)]
    return min(same, key=lambda points: _distance(points, landmarks), default=None)


def _distance(one: Landmarks, other: Landmarks) -> float:
    return float(np.linalg.norm(one[:, :2].mean(axis=0) - other[:, :2].mean(axis=0)))


def _same(one: Landmarks, other: Landmarks) -> bool:
    return _distance(one, other) < 0.4 * max(face_width(one), face_width(other))


def bounding_box(landmarks: Landmarks, width: int, height: int) -> Box:
    """The landmarks' bounding box within a picture of that size."""
    low = np.floor(landmarks[:, :2].min(axis=0)).astype(int)
    high = np.ceil(landmarks[:, :2].max(axis=0)).astype(int) + 1
    x1, y1 = min(max(int(low[0]), 0), width - 1), min(max(int(low[1]), 0), height - 1)
    return Box(
        x1, y1, max(min(int(high[0]), width), x1 + 1), max(min(int(high[1]), height), y1 + 1)
    )
