"""What safety remembers of rows' episodes: read from their tokens, and written for the next ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steersman.bundle.specs import ActionSpec
from steersman.safety.memory import Memory, MemoryLayout
from steersman.safety.safeguards import AT, Course
from steersman.serving.deciding.batch import Columns, EpisodeRow
from steersman.serving.deciding.runtime import LaneRuntime
from steersman.serving.deciding.work import Work, column

Array = NDArray[Any]
_NANO = 1e-9


def recall(lane: LaneRuntime, columns: Columns, now_s: float) -> Memory | None:
    """What is remembered of the rows; None where the lane's safety remembers nothing.

    Args:
        lane: Where they are decided.
        columns: The rows.
        now_s: Unix seconds; rows that say when their observation was made have that time instead.
    """
    safeguards = lane.safeguards
    if not safeguards.remembers:
        return None
    layout, action = safeguards.layout, lane.contract.action
    times = _times(columns, now_s)
    if columns.episodes is None:
        cells, known = layout.blank(columns.rows), np.zeros(columns.rows, np.bool_)
        previous = np.zeros((columns.rows, *action.shape), action.dtype)
    else:
        cells, known, previous = _unpacked(columns.episodes, layout, action)
    elapsed: NDArray[np.float64] = np.where(known, np.maximum(times - cells[AT], 0.0), np.nan)
    return Memory(known, times, elapsed, previous, cells)


def _times(columns: Columns, now_s: float) -> NDArray[np.float64]:
    if columns.observed_ns is None:
        return np.full(columns.rows, now_s)
    return np.where(columns.observed_ns > 0, columns.observed_ns * _NANO, now_s)


def ages_s(columns: Columns, now_s: float) -> NDArray[np.float64] | None:
    """[N] seconds since each observation was made, NaN where its caller does not say; None if nowhere."""
    if columns.observed_ns is None:
        return None
    return np.where(columns.observed_ns > 0, now_s - columns.observed_ns * _NANO, np.nan)


def _unpacked(
    episodes: Sequence[EpisodeRow], layout: MemoryLayout, action: ActionSpec
) -> tuple[NDArray[np.void], NDArray[np.bool_], Array]:
    """Cells, whether they are known, and the actions before."""
    cells, known = layout.unpack([row.memory for row in episodes])
    dtype = np.dtype(action.dtype)
    size = dtype.itemsize * int(np.prod(action.shape, dtype=np.int64))
    fits = np.array([len(row.action) == size for row in episodes], np.bool_)
    data = b"".join(row.action if fit else bytes(size) for row, fit in zip(episodes, fits, strict=True))
    previous = np.frombuffer(data, dtype).reshape(len(episodes), *action.shape)
    known &= fits
    if np.count_nonzero(known) < len(known):
        cells[~known] = np.zeros((), cells.dtype)
    return cells, known, previous


def remember(work: Work) -> list[bytes] | None:
    """What the tokens of the rows shall carry, now that their actions are known; None for nothing."""
    memory, safeguards = work.memory, work.lane.safeguards
    if memory is None:
        return None
    nowhere = column(work.columns.rows, 0, "bool")
    course = Course(
        answered=~work.failed,
        fell=work.unanswered if work.orders is None else work.unanswered | work.orders.refused,
        healthy=~work.unanswered if work.healthy is None else work.healthy,
        eased=nowhere if work.eased is None else work.eased,
    )
    safeguards.remember(memory, work.actions, work.features, course)
    return safeguards.layout.pack(memory.cells)
