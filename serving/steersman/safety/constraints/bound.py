"""Constraints bound to the rows of a batch: what they allow, and what is wrong with an action."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from steersman.safety.columns import Array, Rows
from steersman.safety.constraints.batch import Batch, Numbers
from steersman.safety.constraints.shield import Shield
from steersman.safety.masks import Mask

if TYPE_CHECKING:
    from steersman.safety.constraints.program import Program

NONE = -1
"""What `violated` says of an action that violates nothing."""


@dataclass(slots=True, eq=False)
class Bound:
    """The constraints of one deployment on N rows; made by `Constraints.bind`.

    Nothing is computed before it is asked for. Everywhere actions are [N, *shape] as the environment takes
    them. That they are in the action space is for others to see to: an action that there is not may keep all
    constraints. Only `shield` answers with nothing but actions that there are.
    """

    program: Program
    batch: Batch

    @property
    def assumed(self) -> int:
        """Rows on which a constraint goes on from what the deployment declares, for nothing is remembered."""
        if not self.program.remembers or self.batch.remembered is not None:
            return 0
        return self.batch.rows - int(np.count_nonzero(self.batch.known))

    def violated(self, actions: Array) -> NDArray[np.int8]:
        """Position of the first constraint that each action violates, -1 for none: [N]. Read-only."""
        with np.errstate(all="ignore"):
            if self.program.clear(self.batch, actions):
                return _nothing_violated(self.batch.rows)
            return self._violated(actions)

    def _violated(self, actions: Array) -> NDArray[np.int8]:
        batch = self.batch
        found = np.full(batch.rows, NONE, np.int8)
        values = self.program.elements(actions)
        for i, constraint in self.program.suspects(batch, values):
            applies = batch.applies(constraint.condition)
            if applies is None or np.count_nonzero(applies):
                violating = ~(constraint.kind.margin(batch, values) >= 0) & (found == NONE)
                found[violating if applies is None else violating & applies] = i
        return found

    def permits(self, actions: Array) -> Rows:
        """Rows whose action violates nothing: [N]."""
        permitted: Rows = self.violated(actions) == NONE
        return permitted

    def margins(self, actions: Array) -> Numbers:
        """How far each action is from violating each constraint: [K, N], negative where it does.

        In the unit of the constraint (`Constraints.units`). NaN where it does not apply, or where nothing
        that could be done would come nearer to violating it. Minus infinity where a value that it reads is
        NaN.
        """
        actions = self.program.elements(actions)
        found = np.full((len(self.program.constraints), self.batch.rows), np.nan)
        for i, constraint in enumerate(self.program.constraints):
            with np.errstate(all="ignore"):
                margin = constraint.kind.margin(self.batch, actions)
            margin = np.where(np.isnan(margin), -np.inf, margin)
            applies = self.batch.applies(constraint.condition)
            counts = margin < np.inf if applies is None else (margin < np.inf) & applies
            found[i] = np.where(counts, margin, np.nan)
        return found

    @property
    def choices(self) -> Mask | None:
        """Choices that the constraints allow, [N, W] in the mask's columns; None for Box, or for all."""
        return self.program.choices(self.batch)

    def shield(
        self,
        actions: Array,
        rows: NDArray[np.intp],
        mask: Mask | None = None,
        distribution: Array | None = None,
    ) -> tuple[Array, Rows]:
        """Permitted actions for some rows, as near as can be to what was wanted.

        Box: the nearest in the sum of squares. Choices: in each dimension whose choice is not allowed, the
        allowed one of which the policy thinks most. An action that is permitted stays what it is.

        Args:
            actions: [N, *shape], what was wanted, NaN and all.
            rows: [n], which rows.
            mask: [N, W], or None where every choice is allowed.
            distribution: [N, P], the policy's masked log-probabilities or Q-values, one per mask column;
                None where there are none: then a choice is changed only where one alone is left.

        Returns:
            Actions [n, *shape] in the action's type, and [n] whether each is permitted by constraints and
            mask and in the action space. Rows that are not solved keep what was wanted; among them are all
            that violate a constraint with `then: fallback`.
        """
        part = self if len(rows) == self.batch.rows else self.take(rows)
        shield = Shield(part)
        chosen = None if mask is None else mask[rows]
        scores = None if distribution is None else distribution[rows]
        with np.errstate(all="ignore"):  # what overflows, or is no number, is not solved
            return shield.solve(actions[rows], chosen, scores)

    def take(self, rows: NDArray[np.intp] | Rows) -> Bound:
        """The same for some of the rows."""
        return Bound(self.program, self.batch.take(rows))


@lru_cache(maxsize=1024)
def _nothing_violated(rows: int) -> NDArray[np.int8]:
    """Made once per batch size, for this is what nearly every batch gets."""
    found = np.full(rows, NONE, np.int8)
    found.setflags(write=False)
    return found
