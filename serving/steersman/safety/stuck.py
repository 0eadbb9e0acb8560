"""Stuck sensors: features that have had exactly the same value for too many steps of an episode.

A frozen driver or a cut cable repeats its last number, which is finite, within bounds and like training. Only
features that never repeat themselves while they work should be named: a switch or a rounded level may.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from steersman.bundle.specs import Contract, feature_names
from steersman.safety.columns import Features, Rows, any_column, feature_index
from steersman.safety.guard_settings import GuardReason, StuckSensor
from steersman.safety.memory import Fields, Memory
from steersman.safety.row_checks import Given, need_named_features, some


@dataclass(frozen=True, slots=True)
class StuckCheck:
    """Counts how often each of some features has been the same. Use `compile`.

    Attributes:
        columns: [K], which features.
        names: Their names.
        steps: How many steps in a row may have the same value.
        rejects: Whether a row on which one is stuck fails with an error instead of falling back.
        reason: What such a row is said to be.
    """

    columns: NDArray[np.intp]
    names: tuple[str, ...]
    steps: int
    rejects: bool
    reason: GuardReason = GuardReason.OBSERVATION_STUCK

    @classmethod
    def compile(cls, settings: StuckSensor, contract: Contract) -> StuckCheck:
        """The check that these settings describe for this policy.

        Raises:
            SafetyError: A feature is unknown, or there are too many to look at each.
        """
        where, known = "guard.stuck", feature_names(contract)
        need_named_features(contract, where)
        columns = [feature_index(name, known, f"{where}.features") for name in settings.features]
        rejects = settings.action == "reject"
        return cls(np.array(columns, np.intp), settings.features, settings.steps, rejects)

    def fields(self) -> Fields:
        """Last values and how many steps in a row have had them; named after the features, in order."""
        shape = (len(self.columns),)
        return {self._values: ("<f8", shape), self._runs: ("<u4", shape)}

    def failing(self, given: Given) -> Rows | None:
        """Rows on which some feature is stuck; none where nothing is remembered."""
        if given.memory is None:
            return None
        return some(any_column(self._counted(given.memory, given.features) > self.steps))

    def explain(self, given: Given) -> str:
        """Names the first feature that is stuck."""
        if given.memory is None:
            return ""
        stuck = np.flatnonzero(self._counted(given.memory, given.features)[0] > self.steps)
        if not stuck.size:
            return ""
        value, name = float(given.features[0, self.columns[stuck[0]]]), self.names[stuck[0]]
        return (
            f"feature {name!r} has been {value:.7g} for more than {self.steps} steps; expected it to change"
        )

    def update(self, memory: Memory, features: Features) -> None:
        """Remembers this step's values."""
        runs = self._counted(memory, features)
        memory.cells[self._runs] = runs
        memory.cells[self._values] = features[:, self.columns]

    @property
    def _values(self) -> str:
        return f"guard.stuck.value[{','.join(self.names)}]"

    @property
    def _runs(self) -> str:
        return f"guard.stuck.run[{','.join(self.names)}]"

    def _counted(self, memory: Memory, features: Features) -> NDArray[np.uint32]:
        """[N, K] steps in a row, this one included, with the same value; no more than is too many."""
        same = (features[:, self.columns] == memory.cells[self._values]) & memory.known[:, None]
        runs: NDArray[np.uint32] = np.where(same, memory.cells[self._runs], 0) + np.uint32(1)
        return np.minimum(runs, np.uint32(self.steps + 1))
