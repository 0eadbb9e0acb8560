"""What safety has to remember of an episode between its steps, as columns, and as bytes in its token.

Each part of the safety path says which numbers it needs per row (`Fields`). All of them together are the
layout; a token carries one record of it after four bytes that name the layout, so that after a change of the
deployment's safety a token of before is understood to remember nothing. Rows that have no token, or such a
one, are not `known`: every part then goes on from the conservative value that the deployment declares.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steersman.safety.columns import Array, Rows

Fields = Mapping[str, tuple[str, tuple[int, ...]]]
"""Name of a field, such as `dwell.valve.since` -> numpy dtype, such as `<f8`, and shape per row."""
LAYOUT_BYTES = 4
MOST_BYTES = 4096
"""Largest record. A token travels with every call."""


@dataclass(slots=True, eq=False)
class Memory:
    """What is remembered of N rows' episodes, and what time it is.

    Attributes:
        known: [N] bool, rows whose token remembers the step before.
        now_s: [N] float64, time of this step, Unix seconds: that of the observation where its caller says it,
            else the server's clock.
        elapsed_s: [N] float64, seconds since the step before, not negative; NaN where not known.
        previous: [N, *action shape], the action of the step before, whoever made it; zeros where not known.
        cells: [N] structured, one field for each of the layout's; zeros where not known. Parts read it, and
            once the final actions are known write what the next step shall find.
    """

    known: Rows
    now_s: NDArray[np.float64]
    elapsed_s: NDArray[np.float64]
    previous: Array
    cells: NDArray[np.void]

    def take(self, rows: NDArray[np.intp] | Rows) -> Memory:
        """Some of the rows, copied."""
        return Memory(
            self.known[rows], self.now_s[rows], self.elapsed_s[rows], self.previous[rows], self.cells[rows]
        )


class MemoryLayout:
    """The record of one deployment's safety for one policy.

    Args:
        fields: What each part needs, together. Names are unique.
    """

    def __init__(self, fields: Fields) -> None:
        described = sorted((name, dtype, list(shape)) for name, (dtype, shape) in fields.items())
        self.dtype: np.dtype[np.void] = np.dtype(
            [(name, dtype, tuple(shape)) for name, dtype, shape in described]
        )
        self.size = self.dtype.itemsize
        self._name = sha256(repr(described).encode()).digest()[:LAYOUT_BYTES]

    def unpack(self, records: Sequence[bytes]) -> tuple[NDArray[np.void], Rows]:
        """The cells of rows from what their tokens carry, and whether that is of this layout: [N], [N]."""
        length = LAYOUT_BYTES + self.size
        known = np.array([len(r) == length and r[:LAYOUT_BYTES] == self._name for r in records], np.bool_)
        empty = bytes(self.size)
        data = b"".join(
            record[LAYOUT_BYTES:] if good else empty for record, good in zip(records, known, strict=True)
        )
        if not self.size:
            return np.zeros(len(records), self.dtype), known
        return np.frombuffer(bytearray(data), self.dtype), known

    def pack(self, cells: NDArray[np.void]) -> list[bytes]:
        """What tokens shall carry of rows' cells."""
        data, size = cells.tobytes(), self.size
        return [self._name + data[start * size : (start + 1) * size] for start in range(len(cells))]

    def blank(self, rows: int) -> NDArray[np.void]:
        """Cells that nothing is known of."""
        return np.zeros(rows, self.dtype)


def unknown(rows: int, shape: tuple[int, ...], dtype: str, layout: MemoryLayout, now_s: float) -> Memory:
    """The memory of rows of which nothing is known, [N, *shape] actions of this dtype."""
    previous: NDArray[Any] = np.zeros((rows, *shape), dtype)
    nowhere = np.full(rows, np.nan)
    return Memory(np.zeros(rows, np.bool_), np.full(rows, now_s), nowhere, previous, layout.blank(rows))
