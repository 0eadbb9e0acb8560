"""Constraints on which choices are made: forbidden ones, and those of which there is a budget."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from steersman.bundle.specs import ActionSpec
from steersman.safety.columns import Array, Rows
from steersman.safety.constraints.batch import Batch, Numbers, Remembering
from steersman.safety.constraints.choosing import Choosing
from steersman.safety.constraints.naming import choice_columns
from steersman.safety.constraints.settings import BudgetSettings, Choices
from steersman.safety.memory import Fields, Memory


class Listed(Remembering):
    """Choices that are listed.

    Attributes:
        columns: [W] bool, which columns of the mask they are.
    """

    def __init__(self, columns: NDArray[np.bool_], action: ActionSpec) -> None:
        self.columns = columns
        self._choosing = Choosing(action)
        self._table = self._choosing.table(columns)
        self._entries = self._table.tolist()

    def made(self, actions: Array) -> Rows:
        """Rows that make one of them."""
        return self._choosing.any_in(self._table, self._choosing.positions(actions))

    def clear(self, batch: Batch, actions: Array) -> bool:  # noqa: ARG002
        """None is made."""
        return not np.count_nonzero(self.made(actions))

    def clear_one(self, batch: Batch, action: Sequence[int]) -> bool:  # noqa: ARG002
        """None is made."""
        for position in self._choosing.positions_of_one(action):  # noqa: SIM110  generators cost more
            if self._entries[position]:
                return False
        return True


class Forbidden(Listed):
    """`forbid`: none of these choices. A margin is 1 or -1."""

    @classmethod
    def compile(cls, settings: Choices, action: ActionSpec, where: str) -> Forbidden:
        """From settings.

        Raises:
            SafetyError: There is no such choice.
        """
        return cls(choice_columns(settings, action, where), action)

    def margin(self, batch: Batch, actions: Array) -> Numbers:  # noqa: ARG002
        """1, or -1 where one of them is made."""
        return np.where(self.made(actions), -1.0, 1.0)

    def allowed(self, batch: Batch) -> NDArray[np.bool_]:  # noqa: ARG002
        """All others."""
        return ~self.columns[None]


class Budget(Listed):
    """`budget`: these choices at most so often. A margin is what is left after this decision.

    Remembered is when the last uses were, oldest first (0 for never), or how many there were. Uses count
    whether or not the constraint's condition holds; that says only when the budget is enforced.
    """

    unit = "uses"
    remembers = True

    def __init__(self, name: str, settings: BudgetSettings, action: ActionSpec, where: str) -> None:
        super().__init__(choice_columns(settings.actions, action, f"{where}.actions"), action)
        self._most, self._window_s, self._assumed = settings.most, settings.window_s, settings.assumed
        self._field = f"{name}.uses"
        kind = ("<i4", ()) if self._window_s is None else ("<f8", (self._most,))
        self.fields: Fields = {self._field: kind}

    def margin(self, batch: Batch, actions: Array) -> Numbers:
        """Uses left; not below 0 where none is made, though an override may have used more."""
        left, made = self._most - self._used(batch), self.made(actions)
        return np.where(made, left - 1.0, np.maximum(left, 0.0))

    def allowed(self, batch: Batch) -> NDArray[np.bool_]:
        """All others, and these where a use is left."""
        left = self._used(batch) < self._most
        return left[:, None] | ~self.columns

    def update(self, memory: Memory, actions: Array, answered: Rows) -> None:
        """Counts a use."""
        uses, unknown = memory.cells[self._field], ~memory.known
        using = self.made(actions) & answered
        if self._window_s is None:
            uses[unknown] = self._assumed
            uses[using] = np.minimum(uses[using], 2**31 - 2) + 1
            return
        if unknown.any():
            uses[unknown] = 0.0
            uses[unknown, self._most - self._assumed :] = memory.now_s[unknown, None]
        if using.any():
            uses[using, :-1] = uses[using, 1:]
            uses[using, -1] = memory.now_s[using]

    def _used(self, batch: Batch) -> Numbers:
        memory = batch.memory
        if memory is None:
            return np.full(batch.rows, float(self._assumed))
        uses = memory.cells[self._field]
        if self._window_s is None:
            used = uses.astype(np.float64)
        else:
            recent = memory.now_s[:, None] - uses < self._window_s
            used = np.count_nonzero(recent, axis=1).astype(np.float64)
        return used if batch.remembered else np.where(memory.known, used, float(self._assumed))
