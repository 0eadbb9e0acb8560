"""Action masks: which choices the caller allows, per row.

A mask is bool [N, W]. Its columns are the action's segments one after the other: a Discrete action is one
segment of n, a MultiDiscrete action has one segment per dimension, a MultiBinary action a pair [off, on] per
switch. Box actions have no mask. No mask at all (None) means that every choice is allowed.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from steersman.bundle.specs import ActionSpec, BoxAction, DiscreteAction
from steersman.safety.columns import Array, Rows, all_columns, all_true, any_column

Mask = NDArray[np.bool_]
"""[N, W] bool, true where the choice is allowed."""


def all_false_segments(mask: Mask, segments: tuple[int, ...]) -> Rows:
    """Rows on which some segment has no allowed choice, so that no action exists.

    Args:
        mask: [N, W] bool.
        segments: Width of each segment, summing up to W; none for Box.

    Returns:
        [N] bool.
    """
    if len(segments) == 1:
        return ~any_column(mask)
    if not segments:
        return np.zeros(len(mask), np.bool_)
    is_open: Mask = np.logical_or.reduceat(mask, _starts(segments), axis=1)
    return ~all_columns(is_open)


def permits(mask: Mask | None, actions: Array, action: ActionSpec) -> Rows:
    """Rows whose action exists and is allowed.

    Args:
        mask: [N, W] bool, or None where everything is allowed.
        actions: [N, *shape] as the environment takes them, so counted from `start` for Discrete.
        action: The action space.

    Returns:
        [N] bool. An action out of range is not permitted, whatever the mask says. Always true for Box.
    """
    if isinstance(action, BoxAction):
        return np.ones(len(actions), np.bool_)
    choices: NDArray[np.int64] = actions.astype(np.int64, copy=False)
    if isinstance(action, DiscreteAction):
        return _allowed(mask, choices - action.start if action.start else choices, action.n)
    segments = action.mask_segments
    return all_columns(_allowed(mask, choices, _widths(segments), _starts(segments)))


def _allowed(
    mask: Mask | None,
    choices: NDArray[np.int64],
    widths: int | NDArray[np.uint64],
    starts: NDArray[np.int64] | None = None,
) -> Mask:
    """Which choices, [N] or [N, D], counted from 0 within their segments, exist and are allowed."""
    # Seen as unsigned, the negative ones are huge: one comparison finds them and those too large.
    in_range: Mask = choices.view(np.uint64) < widths
    if mask is None:
        return in_range
    if not all_true(in_range):
        return in_range & _allowed(mask, np.where(in_range, choices, 0), widths, starts)
    rows = _row_starts(*mask.shape)
    return mask.take(choices + rows if starts is None else choices + starts + rows[:, None])


@lru_cache(maxsize=256)
def _row_starts(rows: int, width: int) -> NDArray[np.int64]:
    """Where each row of a mask begins, its elements counted through."""
    return np.arange(0, rows * width, width, dtype=np.int64)


@lru_cache(maxsize=256)
def _widths(segments: tuple[int, ...]) -> NDArray[np.uint64]:
    return np.asarray(segments, np.uint64)


@lru_cache(maxsize=256)
def _starts(segments: tuple[int, ...]) -> NDArray[np.int64]:
    return np.cumsum((0, *segments[:-1]), dtype=np.int64)
