"""The mouth onto the frame."""

from functools import cache
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest

from gpu_service.compose import compose
from gpu_service.data import Box, FacePatch, Frame, Landmarks
from gpu_service.engines.wav2lip.boxes import face_box
from gpu_service.engines.wav2lip.paste import Area, CpuPainter, Painter, paste_box
from gpu_service.engines.wav2lip.preprocess import Floats, crop_face
from gpu_service.faces.detect import find_face
from tests.media import portrait, scaled, turned


@pytest.fixture(params=["cpu", "card"])
def painter(request: pytest.FixtureRequest) -> Painter:
    """Either; the one for cards works on a CPU, as on any device of torch."""
    return CpuPainter(np.asarray) if request.param == "cpu" else card_painter(request)


def card_painter(request: pytest.FixtureRequest, device: Any = "cpu") -> Painter:
    request.getfixturevalue("torch")
    from gpu_service.engines.wav2lip.paste_network import CardPainter
    from gpu_service.runtimes.torch_runtime import TorchRuntime

    return CardPainter(TorchRuntime(device))


def area_of(frame: Frame) -> tuple[Area, Floats, Landmarks]:
    """An area, the lower half as if the network had drawn just that, and the landmarks."""
    landmarks = find_face(frame).landmarks
    box = face_box(landmarks, (0, 10, 0, 0), frame.shape[1], frame.shape[0])
    crop = crop_face(frame, box)
    drawn = crop[48:].transpose(2, 0, 1).astype(np.float32) / 255
    return Area(box, crop, landmarks), drawn, landmarks


def patch_of(painter: Painter, area: Area, drawn: Floats) -> FacePatch:
    return FacePatch(0, area.box, painter.paint(drawn[np.newaxis], [area])[0], area.alpha)


@pytest.mark.parametrize("frame", [portrait(), scaled(portrait(), 3), turned(portrait(), 30)])
def test_the_mouth_is_drawn_and_the_upper_face_stays_as_it_was(
    frame: Frame, painter: Painter
) -> None:
    area, _, landmarks = area_of(frame)
    patch = patch_of(painter, area, np.random.default_rng(1).random((3, 48, 96), np.float32))
    changed = np.abs(compose(frame, patch).astype(int) - frame).max(axis=2) > 0
    for part in (13, 14, 61, 291, 17):
        x, y = landmarks[part, :2].astype(int)
        assert changed[y - 2 : y + 3, x - 2 : x + 3].mean() > 0.9
    for part in (33, 133, 362, 263, 168, 10, 6):
        x, y = landmarks[part, :2].astype(int)
        assert not changed[y - 2 : y + 3, x - 2 : x + 3].any()


def test_the_patch_fades_to_nothing_at_its_edges() -> None:
    alpha = area_of(scaled(portrait(), 3))[0].alpha
    assert alpha.max() == 255
    for edge in (alpha[0], alpha[-1], alpha[:, 0], alpha[:, -1]):
        assert edge.max() < 16
    steps = [np.abs(np.diff(alpha.astype(int), axis=axis)).max() for axis in (0, 1)]
    assert max(steps) < 32, "no seam"


def test_what_was_drawn_as_it_was_leaves_the_frame_nearly_as_it_was(painter: Painter) -> None:
    frame = portrait()
    area, same, _ = area_of(frame)
    composed = compose(frame, patch_of(painter, area, same))
    assert np.abs(composed.astype(int) - frame).mean() < 0.1


def test_colours_are_matched_to_the_surroundings(painter: Painter) -> None:
    area, same, _ = area_of(portrait())
    tinted = np.clip(same + np.array([0.06, -0.05, 0.04], np.float32)[:, None, None], 0, 1)
    plain, matched = painter.paint(np.stack((same, tinted)), [area, area])
    assert np.abs(matched.astype(int) - plain).mean() < 2


def test_the_whole_box_is_pasted_as_the_release_does() -> None:
    drawn = np.full((3, 96, 96), 0.5, np.float32)
    box = face_box(find_face(portrait()).landmarks, (0, 10, 0, 0), 512, 512)
    patch = paste_box(3, box, drawn)
    assert (patch.frame_index, patch.box, patch.alpha) == (3, box, None)
    assert patch.pixels.shape == (box.height, box.width, 3)
    assert (patch.pixels == 127).all()


SIDES = [
    (900, 1152), (500, 640), (200, 257), (97, 97), (96, 96), (92, 117), (130, 80), (60, 75),
    (24, 31), (2, 2),
]  # fmt: skip
"""Width and height: growing, shrinking, one of each, and of a face that is hardly there."""


@cache
def portrait_landmarks() -> Landmarks:
    return find_face(portrait()).landmarks


def area_in(width: int, height: int, seed: int = 0, cut: tuple[float, float] = (0, 0)) -> Area:
    """The portrait's face in a box of this size, of which the frame cuts a share off."""
    landmarks = portrait_landmarks().copy()
    box = face_box(landmarks, (0, 10, 0, 0), 512, 512)
    landmarks[:, :2] = (landmarks[:, :2] - box[:2]) * (width / box.width, height / box.height)
    landmarks[:, :2] -= (cut[0] * width, 0)
    kept = Box(0, 0, round(width * (1 - cut[0])), round(height * (1 - cut[1])))
    return Area(kept, np.asarray(noise(seed, (96, 96, 3)) * 255, np.uint8), landmarks)


def noise(seed: int, shape: tuple[int, ...]) -> Floats:
    """With edges that are sharper than any face's, so that cubic scaling overshoots."""
    given = np.random.default_rng(seed).normal(0.5, 0.4, shape).clip(0, 1)
    return np.asarray(given, np.float32)


def assert_same_pixels(found: list[Any], expected: list[Any]) -> None:
    """Within a grey level, and few of them: where a pixel lies between two."""
    assert [each.shape for each in found] == [each.shape for each in expected]
    assert {each.dtype for each in found} == {np.dtype(np.uint8)}
    apart = [np.abs(one.astype(int) - other) for one, other in zip(found, expected, strict=True)]
    assert max(each.max() for each in apart) <= 1
    assert sum(each.sum() for each in apart) <= 1e-4 * sum(each.size for each in apart)


@pytest.mark.parametrize("batch", [1, 2, 6])
@pytest.mark.parametrize("sides", SIDES)
def test_a_card_paints_a_photo_as_the_cpu_does(
    sides: tuple[int, int], batch: int, request: pytest.FixtureRequest
) -> None:
    area, mouths = area_in(*sides), noise(batch, (batch, 3, 48, 96))
    painted = card_painter(request).paint(mouths, [area] * batch)
    assert painted[0].shape[:2] == area.alpha.shape
    assert_same_pixels(painted, CpuPainter(np.asarray).paint(mouths, [area] * batch))


def test_a_card_paints_a_video_as_the_cpu_does(request: pytest.FixtureRequest) -> None:
    areas = [area_in(*sides, seed=seed) for seed, sides in enumerate(SIDES)]
    areas[4:4] = [areas[3], areas[3]]  # a frame that is shown longer
    mouths, painter = noise(0, (len(areas), 3, 48, 96)), card_painter(request)
    expected = CpuPainter(np.asarray).paint(mouths, areas)
    assert_same_pixels(painter.paint(mouths, areas), expected)
    pieces = [painter.paint(mouths[each : each + 5], areas[each : each + 5]) for each in (0, 5, 10)]
    assert_same_pixels([pixels for piece in pieces for pixels in piece], expected)


@pytest.mark.parametrize("cut", [(0.4, 0), (0, 0.3), (0.3, 0.45), (0.9, 0.9)])
def test_a_card_paints_boxes_that_the_frame_cuts_as_the_cpu_does(
    cut: tuple[float, float], request: pytest.FixtureRequest
) -> None:
    area, mouths = area_in(300, 260, cut=cut), noise(1, (3, 3, 48, 96))
    painted = card_painter(request).paint(mouths, [area] * 3)
    assert_same_pixels(painted, CpuPainter(np.asarray).paint(mouths, [area] * 3))


def test_half_precision_ends_where_the_network_does(
    torch: ModuleType, request: pytest.FixtureRequest
) -> None:
    area, mouths = area_in(500, 640), noise(0, (2, 3, 48, 96)).astype(np.float16)
    painted = card_painter(request).paint(torch.tensor(mouths), [area, area])
    expected = CpuPainter(np.asarray).paint(mouths.astype(np.float32), [area, area])
    assert_same_pixels(painted, expected)


@pytest.mark.parametrize("sides", [each for each in SIDES if (each[0] > 96) == (each[1] > 96)])
def test_what_is_pasted_is_a_part_of_the_crop_as_opencv_scales_it(
    sides: tuple[int, int], painter: Painter
) -> None:
    area, mouth = area_in(*sides), noise(3, (1, 3, 48, 96))
    canvas = area.crop.copy()
    canvas[48:] = mouth[0].transpose(1, 2, 0) * 255
    shift = ((area.crop[48:] - canvas[48:]) * area.seam).sum(axis=(0, 1)).clip(-30, 30)
    canvas[48:] += shift
    method = cv2.INTER_CUBIC if sides[0] > 96 else cv2.INTER_AREA
    whole = cv2.resize(canvas, sides, interpolation=method).round().clip(0, 255)
    expected = whole[area.rows, area.columns].astype(np.uint8)
    assert_same_pixels(painter.paint(mouth, [area]), [expected])


def test_a_box_that_shrinks_one_way_and_grows_the_other_repeats_no_pixels(painter: Painter) -> None:
    area = area_in(92, 400)
    ramp = np.zeros((1, 3, 48, 96), np.float32)
    ramp[:] = np.linspace(0.2, 0.8, 48)[:, np.newaxis]
    area.crop[:48] = 0.2 * 255
    area.crop[48:] = ramp[0].transpose(1, 2, 0) * 255
    column = painter.paint(ramp, [area])[0][20:, 40, 0].astype(int)
    assert (np.diff(column) == 0).mean() < 0.5


@pytest.mark.gpu
def test_a_cuda_card_paints_what_torch_paints_on_the_cpu(request: pytest.FixtureRequest) -> None:
    areas = [area_in(*sides, seed=seed) for seed, sides in enumerate(SIDES)]
    mouths, painter = noise(0, (len(areas), 3, 48, 96)), card_painter(request, "cuda")
    expected = CpuPainter(np.asarray).paint(mouths, areas)
    for _ in range(3):  # memory that is used again
        assert_same_pixels(painter.paint(mouths, areas), expected)
    photo = CpuPainter(np.asarray).paint(mouths[:3], [areas[0]] * 3)
    kept = painter.paint(mouths[:3], [areas[0]] * 3)
    painter.paint(mouths[3:6], [areas[0]] * 3)
    assert_same_pixels(kept, photo)
