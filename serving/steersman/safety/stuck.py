"""Stuck sensors: features that have had exactly the same value for too many steps of an episode.

A frozen driver or a cut cable repeats its last number, which is finite, within bounds and like training. Only
features that never repeat themselves while they work should be named: a switch or a rounded level may.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from steersman.bundle.specs import Contract, feature_names
from steersman.safety.columns import Features, Rows, any_column, feature_index
from steersman.safety.guard_settings import GuardReason, StuckSensor
from steersman.safety.memory import Fields, Memory
from steersman.safety.row_checks import Given, need_named_features

_ONE = np.uint32(1)


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
    _values: str = field(init=False)
    _runs: str = field(init=False)

    def __post_init__(self) -> None:
        told = ",".join(self.names)
        object.__setattr__(self, "_values", f"guard.stuck.value[{told}]")
        object.__setattr__(self, "_runs", f"guard.stuck.run[{told}]")

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
        stuck = self._stuck(given.memory, given.features)
        return any_column(stuck) if np.count_nonzero(stuck) else None

    def explain(self, given: Given) -> str:
        """Names the first feature that is stuck."""
        if given.memory is None:
            return ""
        stuck = np.flatnonzero(self._stuck(given.memory, given.features)[0])
        if not stuck.size:
            return ""
        value, name = float(given.features[0, self.columns[stuck[0]]]), self.names[stuck[0]]
        return (
            f"feature {name!r} has been {value:.7g} for more than {self.steps} steps; expected it to change"
        )

    def update(self, memory: Memory, features: Features) -> None:
        """Remembers this step's values."""
        values, cells = features.take(self.columns, axis=1), memory.cells
        runs: NDArray[np.uint32] = cells[self._runs] * (values == cells[self._values]) + _ONE
        cells[self._runs] = np.minimum(runs, np.uint32(self.steps))  # one more would be too many anyway
        cells[self._values] = values

    def _stuck(self, memory: Memory, features: Features) -> NDArray[np.bool_]:
        """[N, K], features whose value had been this one for `steps` steps already.

        Where nothing is remembered that number is 0, whatever the value.
        """
        cells = memory.cells
        same: NDArray[np.bool_] = features.take(self.columns, axis=1) == cells[self._values]
        return same & (cells[self._runs] >= self.steps)
