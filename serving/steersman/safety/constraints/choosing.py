"""Choices as positions in a table: what is looked up once per action, whatever is forbidden."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from steersman.bundle.specs import ActionSpec, DiscreteAction
from steersman.safety.columns import Array, Rows, any_column

Positions = NDArray[np.int64]
"""[N] for Discrete, else [N, dimensions]: entries of a table that has one more column per dimension than
the mask, for choices that there are not."""


class Choosing:
    """The choices of one action space."""

    def __init__(self, action: ActionSpec) -> None:
        segments = action.mask_segments
        self._single = isinstance(action, DiscreteAction)
        self._start = action.start if isinstance(action, DiscreteAction) else 0
        self._widths = np.asarray(segments, np.uint64)
        self._ends = np.cumsum(segments)
        padded = np.cumsum([0, *(width + 1 for width in segments[:-1])])
        self._starts = None if self._single else padded.astype(np.int64)
        self._spans = list(zip(padded.tolist(), segments, strict=True))

    def positions(self, actions: Array) -> Positions:
        """Where each choice is in the table."""
        choices = actions.astype(np.int64, copy=False)
        if self._start:
            choices = choices - self._start
        # Seen as unsigned, negative ones are huge: all that there are not come to the end of their segment.
        found: Positions = np.minimum(choices.view(np.uint64), self._widths).view(np.int64)
        return found if self._starts is None else found + self._starts

    def positions_of_one(self, action: Sequence[int]) -> list[int]:
        """The same for one action."""
        return [
            first + (choice - self._start if 0 <= choice - self._start < width else width)
            for choice, (first, width) in zip(action, self._spans, strict=True)
        ]

    def table(self, columns: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Mask columns as a table; true for choices that there are not."""
        return np.insert(columns, self._ends, True)

    def any_in(self, table: NDArray[np.bool_], positions: Positions) -> Rows:
        """Rows that make one of the table's choices."""
        found: Rows = table.take(positions)
        return found if self._single else any_column(found)
