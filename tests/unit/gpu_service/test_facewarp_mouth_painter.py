"""The mouth on a head that moves."""

import numpy as np
import pytest

from gpu_service.data import Image
from gpu_service.engines.facewarp.lips.lip_profile import LipProfile
from gpu_service.engines.facewarp.lips.mouth_painter import MouthPainter
from gpu_service.engines.facewarp.portrait import Portrait, build_portrait
from gpu_service.engines.facewarp.renderer import Renderer
from gpu_service.engines.facewarp.shape import MouthShape
from gpu_service.engines.facewarp.warp.geometry import Floats
from gpu_service.faces.detect import find_face
from tests.media import portrait

WIDE_OPEN = MouthShape(0.9, 0.2, 0.1, 0.0, 0.0)


@pytest.fixture(scope="module")
def built() -> Portrait:
    return build_portrait(portrait(), find_face(portrait()))


def painted(built: Portrait, cells: tuple[int, int] | None) -> Image:
    """The mouth area on a head that has moved by whole cells to the left and up."""
    coeffs = Renderer(built).coeffs(WIDE_OPEN)
    profile = LipProfile(built, coeffs)
    # Not their inverse, but smooth and as large: enough to draw with.
    upper = -np.tensordot(coeffs, built.upper_fields, 1)
    lower = -np.tensordot(coeffs, built.lower_fields, 1)
    head: Floats | None = None
    if cells is not None:
        head = np.broadcast_to(
            np.array(cells, np.float32) * built.grid.cell, built.node_uv.shape
        ).astype(np.float32)
        right, down = cells
        upper, lower = (
            np.roll(field, (-down, -right), axis=(0, 1)) + head for field in (upper, lower)
        )
    image = np.zeros_like(built.pixels)
    MouthPainter(built).draw(image, profile, upper, lower, coeffs, head)
    return image


@pytest.mark.parametrize("cells", [(2, 0), (0, -2), (1, 2)])
def test_a_head_that_moves_by_whole_pixels_takes_the_same_mouth_along(
    built: Portrait, cells: tuple[int, int]
) -> None:
    still, moved = painted(built, None), painted(built, cells)
    right, down = np.array(cells) * built.grid.cell
    back = np.roll(moved, (down, right), axis=(0, 1))
    area, cell = built.area, built.grid.cell
    margin = 3
    rows = slice((area.first_row + margin) * cell, (area.first_row + area.rows - margin) * cell)
    columns = slice(
        (area.first_column + margin) * cell, (area.first_column + area.columns - margin) * cell
    )
    off = np.abs(back[rows, columns].astype(int) - still[rows, columns])
    assert np.ptp(still[rows, columns]) > 100
    # Sums in another order may fall on the other side of a rounding.
    assert off.max() <= 1
    assert (off > 0).mean() < 0.001
