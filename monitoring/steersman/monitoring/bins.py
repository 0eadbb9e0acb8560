"""From values to cells: which bin of its feature each value falls in.

The cells are defined in `steersman.bundle.reference`: 0 underflow, 1 to BINS the bins between the edges,
BINS + 1 overflow, BINS + 2 NaN.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from steersman.bundle.reference import BINS, CELLS

NAN_CELL = BINS + 2

CELL_LABELS: tuple[str, ...] = ("underflow", *(str(k) for k in range(1, BINS + 1)), "overflow", "nan")
"""Name of each cell, as the label `bin` of the metrics has it."""


class Binner:
    """The edges of F features, laid out for speed.

    All edges are compared at once, with rows innermost so that the comparison and the sum over edges run
    through contiguous memory; int8 holds the sum. Measured at F = 8 on one core (numpy 2.4), index alone:
    6 us at N = 1, 0.13 us a row at N = 64, 0.07 us at N = 256. At N = 64 the alternatives took 0.21
    (features innermost), 0.29 (edges innermost), 0.28 (`searchsorted` per feature) and 0.21 us a row (one
    `searchsorted` over edges shifted apart, which also loses precision).

    Args:
        edges: [F, BINS + 1] float64, non-decreasing along the second axis.
    """

    __slots__ = ("_edges",)

    def __init__(self, edges: NDArray[np.float64]) -> None:
        self._edges = np.ascontiguousarray(edges.T)[:, :, None]

    def by_feature(self, x: NDArray[np.float64]) -> NDArray[np.int8]:
        """The cell of each value of `x` [N, F], as [F, N] int8 in 0..CELLS - 1."""
        columns = np.ascontiguousarray(x.T)
        reached = (columns >= self._edges).view(np.int8)
        cells: NDArray[np.int8] = np.add.reduce(reached, axis=0, dtype=np.int8)
        missing = np.isnan(columns)
        if np.count_nonzero(missing):
            cells[missing] = NAN_CELL
        return cells


def cell_index(x: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.int64]:
    """The cell of each value.

    Args:
        x: [N, F] float64; infinities underflow and overflow, NaN has a cell of its own.
        edges: [F, BINS + 1] float64, non-decreasing along the second axis.

    Returns:
        [N, F] int64 in 0..CELLS - 1.
    """
    return Binner(edges).by_feature(x).T.astype(np.int64)


def count_cells(x: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.int64]:
    """How many values of each feature fall in each cell.

    Args:
        x: [N, F] float64.
        edges: [F, BINS + 1] float64.

    Returns:
        [F, CELLS] int64; every row adds up to N.
    """
    features = len(edges)
    flat = cell_index(x, edges) + np.arange(features) * CELLS
    return np.bincount(flat.ravel(), minlength=features * CELLS).reshape(features, CELLS)
