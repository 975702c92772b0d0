"""Dense displacement fields that are smooth everywhere and follow sparse control points."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import splu

from gpu_service.engines.facewarp.warp.geometry import Floats

STRETCH = 0.02
"""How much stretching costs against bending."""


@dataclass(frozen=True)
class Grid:
    """Nodes in the middle of square cells of whole pixels, over a region of the picture."""

    x: int
    y: int
    """The region's left upper corner, in pixels; may lie outside the picture."""
    cell: int
    """Side of a cell, in pixels."""
    columns: int
    rows: int

    @property
    def width(self) -> int:
        """Pixels from left to right."""
        return self.columns * self.cell

    @property
    def height(self) -> int:
        """Pixels from top to bottom."""
        return self.rows * self.cell

    def nodes(self, points: Floats) -> Floats:
        """(..., 2) pixels to node coordinates."""
        corner = np.array([self.x, self.y], np.float32)
        return np.asarray((points - corner + 0.5) / self.cell - 0.5, np.float32)

    def pixels(self) -> Floats:
        """(rows, columns, 2) where the nodes lie in the picture."""
        x = self.x - 0.5 + (np.arange(self.columns, dtype=np.float32) + 0.5) * self.cell
        y = self.y - 0.5 + (np.arange(self.rows, dtype=np.float32) + 0.5) * self.cell
        return np.stack(np.meshgrid(x, y), axis=-1)


@dataclass(frozen=True)
class Controls:
    """Points that pull a field towards given movements."""

    points: Floats
    """(n, 2) pixels."""
    weights: Floats
    """(n,)"""
    moves: Floats
    """(n, num_bases, 2) pixels."""


def solve_fields(grid: Grid, reach: NDArray[np.bool_], controls: Controls) -> Floats:
    """The smoothest fields that follow the controls and are still outside `reach`.

    Minimises |laplace f|^2 + STRETCH |grad f|^2 + sum of weight |f(point) - move|^2.

    Args:
        grid: Where the fields are sampled.
        reach: (rows, columns), the nodes that may move; never at the grid's border.
        controls: What pulls.

    Returns:
        (num_bases, rows, columns, 2) pixels.
    """
    num_bases = controls.moves.shape[1]
    fields = np.zeros((grid.rows * grid.columns, num_bases * 2))
    free = np.flatnonzero(reach.ravel())
    if len(free):
        sample, kept = _sampling(grid, controls.points)
        sample = sample[:, free]
        bend, stretch_x, stretch_y = (operator[:, free] for operator in _derivatives(grid))
        pull = sparse.diags(controls.weights[kept].astype(np.float64))
        system = (
            bend.T @ bend
            + STRETCH * (stretch_x.T @ stretch_x + stretch_y.T @ stretch_y)
            + sample.T @ pull @ sample
        )
        goal = controls.moves[kept].reshape(-1, num_bases * 2).astype(np.float64)
        # The system is symmetric and positive: no pivoting, and an ordering that knows it.
        factors = splu(
            system.tocsc(),
            permc_spec="MMD_AT_PLUS_A",
            diag_pivot_thresh=0.0,
            options={"SymmetricMode": True},
        )
        fields[free] = factors.solve(np.ascontiguousarray(sample.T @ (pull @ goal)))
    shaped = fields.reshape(grid.rows, grid.columns, num_bases, 2)
    return np.ascontiguousarray(shaped.transpose(2, 0, 1, 3), np.float32)


def _derivatives(grid: Grid) -> tuple[sparse.csr_array, sparse.csr_array, sparse.csr_array]:
    """Laplacian and first differences on the grid, zero beyond its border."""

    def along(count: int) -> tuple[sparse.csr_array, sparse.csr_array]:
        ones = np.ones(count)
        second = sparse.diags_array((ones[1:], -2 * ones, ones[1:]), offsets=(-1, 0, 1))
        first = sparse.diags_array((-ones, ones[1:]), offsets=(0, 1))
        return second.tocsr(), first.tocsr()

    second_x, first_x = along(grid.columns)
    second_y, first_y = along(grid.rows)
    eye_x, eye_y = sparse.eye_array(grid.columns), sparse.eye_array(grid.rows)
    laplacian = sparse.kron(eye_y, second_x) + sparse.kron(second_y, eye_x)
    return (
        laplacian.tocsr(),
        sparse.kron(eye_y, first_x).tocsr(),
        sparse.kron(first_y, eye_x).tocsr(),
    )


def _sampling(grid: Grid, points: Floats) -> tuple[sparse.csr_array, NDArray[np.intp]]:
    """Bilinear sampling of the grid at those points that lie in it, and which these are."""
    nodes = grid.nodes(points)
    low = np.floor(nodes).astype(np.intp)
    inside = (low >= 0).all(axis=1) & (low[:, 0] < grid.columns - 1) & (low[:, 1] < grid.rows - 1)
    kept = np.flatnonzero(inside)
    low, part = low[kept], (nodes - low)[kept].astype(np.float64)
    rows, columns, values = [], [], []
    for dx in (0, 1):
        for dy in (0, 1):
            rows.append(np.arange(len(kept)))
            columns.append((low[:, 1] + dy) * grid.columns + low[:, 0] + dx)
            share_x = part[:, 0] if dx else 1 - part[:, 0]
            share_y = part[:, 1] if dy else 1 - part[:, 1]
            values.append(share_x * share_y)
    shape = (len(kept), grid.rows * grid.columns)
    entries = (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns)))
    return sparse.coo_array(entries, shape=shape).tocsr(), kept
