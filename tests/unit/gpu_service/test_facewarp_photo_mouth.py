"""What a photo shows between the lips."""

import numpy as np
import pytest

from gpu_service.engines.facewarp.lips.colours import MouthColours
from gpu_service.engines.facewarp.lips.photo_mouth import photo_inside, photo_teeth
from gpu_service.engines.facewarp.warp.geometry import SEAM_U, LipEdges, MouthFrame

FRAME = MouthFrame(np.array([100, 80], np.float32), np.array([1, 0], np.float32), 40.0)
ARC = (1 - SEAM_U**2).astype(np.float32)
EDGES = LipEdges(-0.2 * ARC, 0.6 * ARC, 0.8 * ARC)
COLOURS = MouthColours(
    cavity=np.array([15, 15, 20], np.float32),
    tongue=np.array([90, 90, 160], np.float32),
    tooth=np.array([200, 205, 210], np.float32),
    tilt=0.0,
    skin_luma=150.0,
)
Y, X = np.mgrid[0:160, 0:200].astype(np.float32)
U, V = (X - 100) / 40, (Y - 80) / 40


def mouth(colour: tuple[int, int, int], first: float, last: float):  # type: ignore[no-untyped-def]
    """A dark mouth in skin, with something of this colour from one height to another."""
    image = np.full((160, 200, 3), (120, 140, 190), np.uint8)
    inside = (V > -0.2 * (1 - U**2)) & (V < 0.6 * (1 - U**2)) & (np.abs(U) < 1)
    image[inside] = (15, 15, 20)
    image[inside & (np.abs(V - (first + last) / 2) < (last - first) / 2)] = colour
    return image


@pytest.mark.parametrize("colour", [(205, 215, 220), (140, 190, 215)], ids=["white", "yellow"])
def test_teeth_of_the_photo_are_shown_down_to_where_they_end(colour: tuple[int, int, int]) -> None:
    layer = photo_teeth(mouth(colour, -0.2, 0.15), FRAME, EDGES, COLOURS, 1.0, U, V)
    assert layer is not None
    middle = layer[:, 100]
    assert middle[80, 3] == 1
    np.testing.assert_allclose(middle[80, :3], colour, atol=2)
    assert middle[round(80 + 0.30 * 40) :, 3].max() == 0


def test_a_tongue_is_no_row_of_teeth() -> None:
    assert photo_teeth(mouth((130, 130, 215), -0.2, 0.5), FRAME, EDGES, COLOURS, 1.0, U, V) is None


def test_lower_teeth_are_no_upper_teeth() -> None:
    image = mouth((205, 215, 220), 0.3, 0.6)
    assert photo_teeth(image, FRAME, EDGES, COLOURS, 1.0, U, V) is None


def test_the_inside_of_an_open_mouth_is_shown_as_it_is() -> None:
    image = mouth((130, 130, 215), 0.2, 0.5)
    layer = photo_inside(image, FRAME, EDGES, U, V)
    np.testing.assert_allclose(layer[92, 100, :3], (130, 130, 215), atol=2)
    assert layer[80 + 26, 100, 3] == 0
