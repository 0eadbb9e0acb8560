"""What is known of the rows that constraints are bound to, and what a constraint has to offer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from steersman.safety.columns import Array, Features, Rows, all_true
from steersman.safety.expressions import Condition
from steersman.safety.memory import Fields, Memory

Numbers = NDArray[np.float64]


@dataclass(slots=True, eq=False)
class Batch:
    """N rows.

    Attributes:
        rows: N.
        features: [N, F]; None where the policy has too many to name.
        memory: What is remembered of their episodes; None for nothing.
    """

    rows: int
    features: Features | None
    memory: Memory | None
    _applies: dict[Condition, Rows] = field(default_factory=dict)

    def take(self, rows: NDArray[np.intp] | Rows) -> Batch:
        """Some of the rows."""
        features = None if self.features is None else self.features[rows]
        memory = None if self.memory is None else self.memory.take(rows)
        count = int(np.count_nonzero(rows)) if rows.dtype == np.bool_ else len(rows)
        return Batch(count, features, memory)

    @property
    def remembered(self) -> Memory | None:
        """The memory, where it knows every row."""
        memory = self.memory
        return memory if memory is not None and all_true(memory.known) else None

    @property
    def known(self) -> Rows:
        """[N] bool, rows of which something is remembered."""
        return np.zeros(self.rows, np.bool_) if self.memory is None else self.memory.known

    def applies(self, condition: Condition | None) -> Rows | None:
        """[N] bool, rows on which what has this condition applies; None for all.

        Where a feature that the condition reads is NaN or infinite, it applies.
        """
        if condition is None or self.features is None:
            return None
        if condition not in self._applies:
            finite = np.isfinite(self.features)
            holds = condition(self.features)
            self._applies[condition] = holds if all_true(finite) else holds | ~condition.evaluable(finite)
        return self._applies[condition]


class Kind(Protocol):
    """What every kind of constraint can say, compiled for one action space.

    Actions of a Box are float64 [N, D] here, elements row-major; choices are as the environment takes them,
    [N] or [N, dimensions].

    Attributes:
        unit: What its margins are in, for people; empty for plain numbers.
        fields: What it has to remember of an episode.
        remembers: Whether it depends on what happened before.
    """

    unit: str
    fields: Fields
    remembers: bool

    def margin(self, batch: Batch, actions: Array) -> Numbers:
        """How far each action is from violating it: [N]; negative where it does.

        NaN where that cannot be said, which counts as violated.
        """
        ...

    def clear(self, batch: Batch, actions: Array) -> bool:
        """Whether no action violates it, found out cheaply; False where that is not certain."""
        ...

    def clear_one(self, batch: Batch, action: Sequence[Any]) -> bool:
        """`clear` for a batch of one row, whose action is given as plain numbers.

        It says the same, from the same arithmetic, in a fifth of the time: on one row numpy is all overhead.
        """
        ...

    def update(self, memory: Memory, actions: Array, answered: Rows) -> None:
        """Writes into the memory's cells what the next step needs, given the final actions."""
        ...


class BoxKind(Kind, Protocol):
    """A constraint on the actions of a Box."""

    def limits(self, batch: Batch) -> tuple[Numbers, Numbers] | None:
        """Lowest and highest value of each element, [N or 1, D]; None where it has no such limits."""
        ...


class ChoiceKind(Kind, Protocol):
    """A constraint on choices."""

    def allowed(self, batch: Batch) -> NDArray[np.bool_]:
        """Which choices it allows, [N or 1, W] in the mask's columns."""
        ...


class Remembering:
    """What is common to kinds that need nothing of their own remembered."""

    unit: str = ""
    fields: Fields = {}
    remembers: bool = False

    def update(self, memory: Memory, actions: Array, answered: Rows) -> None:
        """Nothing to write."""
