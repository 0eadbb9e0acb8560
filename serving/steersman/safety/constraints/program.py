"""Compiled constraints, by what they do to a batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import cast

import numpy as np
from numpy.typing import NDArray

from steersman.bundle.specs import ActionSpec, BoxAction, bounds
from steersman.safety.columns import Array, all_true
from steersman.safety.constraints.batch import Batch, BoxKind, ChoiceKind, Kind, Numbers
from steersman.safety.constraints.boxes import Limits, Zone
from steersman.safety.constraints.choices import Forbidden, Listed
from steersman.safety.constraints.linear import Sums
from steersman.safety.constraints.nearest import Region
from steersman.safety.expressions import Condition
from steersman.safety.masks import Mask


@dataclass(frozen=True, slots=True)
class Constraint:
    """One constraint.

    Attributes:
        name: What people call it.
        kind: What it demands.
        condition: On which rows; None for all.
        shields: Whether an action that violates it may be changed; else the fallback answers.
    """

    name: str
    kind: Kind
    condition: Condition | None
    shields: bool


class Program:
    """All constraints on one action space, in order."""

    def __init__(self, constraints: Sequence[Constraint], action: ActionSpec) -> None:
        self.constraints = tuple(constraints)
        self.action = action
        self.is_box = isinstance(action, BoxAction)
        self.remembers = any(constraint.kind.remembers for constraint in constraints)
        self._screens = tuple(_screens([constraint.kind for constraint in constraints], action))
        if isinstance(action, BoxAction):
            low, high = (limit.astype(action.dtype).reshape(1, -1) for limit in bounds(action))
            self.low, self.high = low.astype(np.float64), high.astype(np.float64)

    def elements(self, actions: Array) -> Array:
        """Box actions as float64 [N, D], elements row-major, infinities as NaN; choices as they are."""
        if not self.is_box:
            return actions
        flat = actions if actions.ndim == 2 else actions.reshape(len(actions), self.low.shape[1])
        values = flat.astype(np.float64, copy=False)
        finite = np.isfinite(values)
        return values if all_true(finite) else np.where(finite, values, np.nan)

    def clear(self, batch: Batch, actions: Array) -> bool:
        """Whether nothing is violated whatever the conditions say, found out cheaply."""
        if batch.rows == 1:
            action = actions.ravel().tolist()
            if self.is_box and not all(map(isfinite, action)):
                return False
            for screen in self._screens:  # noqa: SIM110  generators cost more
                if not screen.clear_one(batch, action):
                    return False
            return True
        values = self.elements(actions)
        for screen in self._screens:  # noqa: SIM110
            if not screen.clear(batch, values):
                return False
        return True

    def suspects(self, batch: Batch, actions: Array) -> Iterator[tuple[int, Constraint]]:
        """Constraints, and their positions, that some action may violate; `actions` as from `elements`."""
        action = actions.ravel().tolist() if batch.rows == 1 else []
        for i, constraint in enumerate(self.constraints):
            kind = constraint.kind
            if not (kind.clear_one(batch, action) if action else kind.clear(batch, actions)):
                yield i, constraint

    def choices(self, batch: Batch) -> Mask | None:
        """What is allowed, [N, W]; None where that is everything, or the action is a Box."""
        if self.is_box or not self.constraints:
            return None
        allowed = np.ones((batch.rows, sum(self.action.mask_segments)), np.bool_)
        for constraint in self.constraints:
            here: NDArray[np.bool_] = cast("ChoiceKind", constraint.kind).allowed(batch)
            applies = batch.applies(constraint.condition)
            allowed &= here if applies is None else here | ~applies[:, None]
        return allowed

    def limits(self, batch: Batch) -> tuple[Numbers, Numbers]:
        """Lowest and highest value of each element of a Box, [N, D] each, those of its space among them."""
        shape = (batch.rows, self.low.shape[1])
        low, high = np.broadcast_to(self.low, shape), np.broadcast_to(self.high, shape)
        for constraint in self.constraints:
            found = cast("BoxKind", constraint.kind).limits(batch)
            if found is None:
                continue
            applies = batch.applies(constraint.condition)
            here = True if applies is None else applies[:, None]
            low = np.maximum(low, np.where(here, found[0], -np.inf))
            high = np.minimum(high, np.where(here, found[1], np.inf))
        return low, high

    def regions(self, batch: Batch) -> Iterator[Region]:
        """Where the action of each row of a Box may be."""
        low, high = self.limits(batch)
        everywhere = np.ones(batch.rows, np.bool_)
        on = {c.name: batch.applies(c.condition) for c in self.constraints}
        at = {name: everywhere if applies is None else applies for name, applies in on.items()}
        sums = [(c.kind, at[c.name]) for c in self.constraints if isinstance(c.kind, Sums)]
        zones = [(c.kind, at[c.name]) for c in self.constraints if isinstance(c.kind, Zone)]
        most = [np.broadcast_to(k.limits_of(batch), (batch.rows, len(k.factors))) for k, _ in sums]
        for i in range(batch.rows):
            here = [(kind.factors, most[j][i]) for j, (kind, on) in enumerate(sums) if on[i]]
            factors = np.concatenate([each for each, _ in here] or [np.zeros((0, low.shape[1]))])
            limits = np.concatenate([each for _, each in here] or [np.zeros(0)])
            yield Region(low[i], high[i], factors, limits, [zone for zone, on in zones if on[i]])


def _screens(kinds: Sequence[Kind], action: ActionSpec) -> Iterator[Kind]:
    """What to look at first: all limits on elements as one, all listed choices as one, and the rest."""
    limits = [kind for kind in kinds if isinstance(kind, Limits)]
    if limits:
        low = np.maximum.reduce([kind.low for kind in limits])
        yield Limits(low, np.minimum.reduce([kind.high for kind in limits]))
    listed = [kind for kind in kinds if isinstance(kind, Listed)]
    if listed:
        yield Forbidden(np.logical_or.reduce([kind.columns for kind in listed]), action)
    yield from (kind for kind in kinds if not isinstance(kind, (Limits, Listed)))
