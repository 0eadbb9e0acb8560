"""Counting margins: how far actions keep from the constraints, as a histogram for each constraint."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from steersman.monitoring.blocks import MARGIN_CELLS, MARGIN_EDGES, Counts

# NaN is sorted behind everything, so that behind infinity there is a cell of its own for it.
_EDGES = np.array((*MARGIN_EDGES, np.inf))


class MarginCounter:
    """Counts margins into one block.

    Measured on one core with 3 constraints (numpy 2.4): 2 us at N = 1, 0.05 us a row at N = 64.

    Args:
        counts: [C, MARGIN_CELLS], contiguous, written through.
    """

    __slots__ = ("_counts", "_first")

    def __init__(self, counts: Counts) -> None:
        self._counts = counts.reshape(-1)
        self._first = (np.arange(len(counts)) * MARGIN_CELLS)[:, None]

    def add(self, margins: NDArray[np.float64]) -> None:
        """Counts `margins` [C, N]; NaN where a constraint does not apply."""
        cells = _EDGES.searchsorted(margins)
        cells += self._first
        self._counts += np.bincount(cells.ravel(), minlength=len(self._counts))
