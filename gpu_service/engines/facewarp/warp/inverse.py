"""Where the picture of each node of a grid comes from, when a field says where it goes."""

import cv2
import numpy as np

from gpu_service.engines.facewarp.warp.geometry import NO_MAP, Floats

_FIXED_POINTS = 6
"""Rounds in which the iteration x = goal - f(x) settles where the field is gentle."""
_NEWTON = 4
"""Rounds of Newton's in which it settles where the field is steep: beside lips that part it changes
by more than a pixel from one to the next, and the simple iteration is off by up to 48 pixels."""
_LONGEST_STEP = 8.0
"""In nodes."""
_SLOPE = np.array([[-0.5, 0.0, 0.5]], np.float32)
_LEAST_AREA = 0.15
"""What is shrunk below this share of its area is taken for so large, or steps would be endless."""


def inverse(field: Floats, goal: Floats, steep: tuple[slice, slice]) -> Floats:
    """The places x with x + field(x) = goal.

    Args:
        field: (rows, columns, 2) float32, sampled at the nodes, in nodes.
        goal: (rows, columns, 2) float32 places, in nodes.
        steep: The rows and columns of those goals around which the field may change fast.

    Returns:
        (rows, columns, 2)
    """
    source: Floats = goal - field
    for _ in range(_FIXED_POINTS):
        source = goal - cv2.remap(field, source, NO_MAP, cv2.INTER_LINEAR)
    source[steep] = _by_newton(field, goal[steep], field[steep])
    return np.asarray(source, np.float32)


def _by_newton(field: Floats, goal: Floats, first: Floats) -> Floats:
    change = _steepness(field)
    source: Floats = np.ascontiguousarray(goal - 0.5 * first)
    for _ in range(_NEWTON):
        moved = cv2.remap(field, source, NO_MAP, cv2.INTER_LINEAR)
        x_x, x_y, y_x, y_y = cv2.split(cv2.remap(change, source, NO_MAP, cv2.INTER_LINEAR))
        x_x, y_y = x_x + 1, y_y + 1
        miss_x, miss_y = cv2.split(goal - source - moved)
        area = np.maximum(x_x * y_y - x_y * y_x, _LEAST_AREA)
        step_x = (y_y * miss_x - x_y * miss_y) / area
        step_y = (x_x * miss_y - y_x * miss_x) / area
        source = source + np.clip(cv2.merge((step_x, step_y)), -_LONGEST_STEP, _LONGEST_STEP)
    return source


def _steepness(field: Floats) -> Floats:
    """(rows, columns, 4) x along x and y, then y along x and y: what it grows by from node to node.

    As np.gradient gives it, but at the border, in half the time.
    """
    across = cv2.filter2D(field, -1, _SLOPE, borderType=cv2.BORDER_REPLICATE)
    down = cv2.filter2D(field, -1, _SLOPE.T, borderType=cv2.BORDER_REPLICATE)
    (x_across, y_across), (x_down, y_down) = cv2.split(across), cv2.split(down)
    # Numpy is slow along axes as short as these.
    return np.asarray(cv2.merge((x_across, x_down, y_across, y_down)), np.float32)
