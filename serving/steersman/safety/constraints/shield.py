"""The shield: a permitted action in the place of one that is not, as near to it as can be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from steersman.safety.columns import Array, Rows
from steersman.safety.constraints.nearest import hair, nearest, typed
from steersman.safety.masks import Mask, permits

if TYPE_CHECKING:
    from steersman.safety.constraints.bound import Bound

HAIRS = (1.0, 8.0, 64.0, 1024.0)
"""How much of a hair sums are shrunk by, one try after the other: rounding may add up."""


class Shield:
    """Solves the rows of one `Bound`."""

    def __init__(self, bound: Bound) -> None:
        self._bound = bound
        self._program = bound.program

    def solve(self, wanted: Array, mask: Mask | None, scores: Array | None) -> tuple[Array, Rows]:
        """As `Bound.shield`, for all rows of the bound; `mask` and `scores` are theirs."""
        action = self._program.action
        violated = self._bound.violated(wanted)
        kept = (violated < 0) & permits(mask, wanted, action) & self._exists(wanted)
        is_box = self._program.is_box
        found = self._nearest(wanted) if is_box else self._most_wanted(wanted, mask, scores)
        found = np.where(_rows_of(kept, wanted), wanted, found).astype(action.dtype, copy=False)
        solved = self._bound.permits(found) & permits(mask, found, action) & self._exists(found)
        solved &= kept | ~self._refused(wanted)
        unsolved = wanted.astype(action.dtype, copy=False)
        return np.where(_rows_of(solved, found), found, unsolved), solved

    def _refused(self, wanted: Array) -> Rows:
        """Rows that violate a constraint that is not for the shield."""
        margins = self._bound.margins(wanted)
        fallbacks = np.array([not each.shields for each in self._program.constraints], np.bool_)
        refused: Rows = np.logical_or.reduce(margins[fallbacks] < 0, axis=0)
        return refused

    def _exists(self, actions: Array) -> Rows:
        """Rows whose action is in the space; the mask says so of choices."""
        if not self._program.is_box:
            return np.ones(len(actions), np.bool_)
        own = self._program.elements(actions)
        inside: Rows = np.logical_and.reduce((own >= self._program.low) & (own <= self._program.high), axis=1)
        return inside

    def _nearest(self, wanted: Array) -> Array:
        batch = self._bound.batch
        points = self._program.elements(wanted).astype(np.float64)
        low, high = self._program.limits(batch)
        dtype = self._program.action.dtype
        found = typed(points, low, high, dtype)
        # Clipped, an action is the nearest within the limits: if it keeps sums and zones it is the answer.
        open_rows = ~self._bound.permits(found.reshape(wanted.shape)) & np.isfinite(points).all(axis=1)
        open_rows &= (low <= high).all(axis=1)
        for factor in HAIRS:
            rows = np.flatnonzero(open_rows)
            if not rows.size:
                break
            part = self._bound.take(rows)
            for i, region in zip(rows, self._program.regions(part.batch), strict=True):
                shrunk = region.shrunk(factor * hair(points[i], region, dtype))
                point = nearest(points[i], shrunk)
                open_rows[i] = point is not None  # without room for a hair there is none for more
                if point is not None:
                    found[i] = typed(point[None], low[i : i + 1], high[i : i + 1], dtype)[0]
            tried = found[rows].reshape(-1, *self._program.action.shape)
            open_rows[rows] &= ~(part.permits(tried) & self._exists(tried))
        return found.reshape(wanted.shape)

    def _most_wanted(self, wanted: Array, mask: Mask | None, scores: Array | None) -> Array:
        rows, segments = len(wanted), self._program.action.mask_segments
        allowed = self._bound.choices
        if allowed is None:
            allowed = np.ones((rows, sum(segments)), np.bool_)
        if mask is not None:
            allowed = allowed & mask
        start = getattr(self._program.action, "start", 0)
        found = wanted.reshape(rows, len(segments)).astype(np.int64)
        first = 0
        for i, width in enumerate(segments):
            part = slice(first, first + width)
            own = None if scores is None else scores[:, part]
            found[:, i] = _best(found[:, i] - start, allowed[:, part], own) + start
            first += width
        return found.reshape(wanted.shape)


def _best(wanted: NDArray[np.int64], allowed: Mask, scores: Array | None) -> NDArray[np.int64]:
    """In one dimension: what is wanted if allowed, else the allowed choice of the highest score, [N].

    Where that cannot be said it stays what it was, forbidden.
    """
    rows, width = allowed.shape
    exists = (wanted >= 0) & (wanted < width)
    kept = exists & allowed[np.arange(rows), np.where(exists, wanted, 0)]
    if scores is None:
        known = np.count_nonzero(allowed, axis=1) == 1
        chosen = np.argmax(allowed, axis=1)
    else:
        readable = allowed & ~np.isnan(scores)
        known = np.logical_or.reduce(readable, axis=1)
        chosen = _argmax(np.where(readable, scores, -np.inf), readable)
    return np.where(kept | ~known, wanted, chosen)


def _argmax(scores: Array, among: Mask) -> NDArray[np.intp]:
    """Column of the highest score among some, [N]; minus infinity is a score too."""
    highest = np.max(scores, axis=1, keepdims=True)
    best: NDArray[np.intp] = np.argmax((scores == highest) & among, axis=1)
    return best


def _rows_of(rows: Rows, like: Array) -> NDArray[np.bool_]:
    return rows.reshape(-1, *(1,) * (like.ndim - 1))
