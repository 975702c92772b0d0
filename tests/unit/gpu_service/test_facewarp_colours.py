"""The colours of what a closed mouth hides."""

import numpy as np
import pytest

from gpu_service.engines.facewarp.colours import mouth_colours
from gpu_service.faces.detect import find_face
from tests.media import portrait

WARM = np.array([0.4, 0.75, 1.0])


def test_teeth_take_the_colour_of_the_light() -> None:
    """In candle light, or a painting in browns, white teeth would glare."""
    points = find_face(portrait()).landmarks[:, :2]
    white = mouth_colours(portrait(), points).tooth
    assert np.ptp(white) < 0.15 * white.max()
    warm = mouth_colours((portrait() * WARM).astype(np.uint8), points).tooth
    blue, green, red = warm / warm.max()
    assert blue < green < red
    assert blue == pytest.approx(0.5, abs=0.1)
