"""Constraints on the elements of a Box, one by one: limits, rates of change, forbidden zones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite

import numpy as np

from steersman.bundle.specs import BoxAction
from steersman.safety.columns import Array, all_true
from steersman.safety.constraints.batch import Batch, Numbers, Remembering
from steersman.safety.constraints.naming import intervals, numbers
from steersman.safety.constraints.settings import Interval, RateSettings


class Limits(Remembering):
    """`box`: each element between its limits.

    Attributes:
        low: [1, D], infinite where there is no limit.
        high: [1, D].
    """

    def __init__(self, low: Numbers, high: Numbers) -> None:
        self.low, self.high = low.reshape(1, -1), high.reshape(1, -1)
        self._pairs = list(zip(low.ravel().tolist(), high.ravel().tolist(), strict=True))
        self._limited = np.flatnonzero(np.isfinite(self.low[0]) | np.isfinite(self.high[0]))
        self._low, self._high = self.low[:, self._limited], self.high[:, self._limited]

    @classmethod
    def compile(cls, settings: Mapping[str, Interval], action: BoxAction, where: str) -> Limits:
        """From settings.

        Raises:
            SafetyError: There is no such element.
        """
        return cls(*intervals(settings, action, where))

    def margin(self, batch: Batch, actions: Array) -> Numbers:  # noqa: ARG002
        """Distance of the nearest element to its limit."""
        own = actions if len(self._limited) == actions.shape[1] else actions[:, self._limited]
        return _least(np.minimum(own - self._low, self._high - own))

    def clear(self, batch: Batch, actions: Array) -> bool:  # noqa: ARG002
        """By comparison."""
        return all_true(actions >= self.low) and all_true(actions <= self.high)

    def clear_one(self, batch: Batch, action: Sequence[float]) -> bool:  # noqa: ARG002
        """By comparison."""
        for value, (low, high) in zip(action, self._pairs, strict=True):  # noqa: SIM110  generators cost more
            if not low <= value <= high:
                return False
        return True

    def limits(self, batch: Batch) -> tuple[Numbers, Numbers]:  # noqa: ARG002
        """The same for every row."""
        return self.low, self.high


class Rate(Remembering):
    """`rate`: each element within so much of the action before, by the time since."""

    remembers = True

    def __init__(self, settings: RateSettings, action: BoxAction, where: str) -> None:
        self._rates = np.array([numbers(settings.max_per_s, np.inf, action, f"{where}.max_per_s")])
        self._limited = np.isfinite(self._rates)
        self._all_limited = all_true(self._limited)
        self._each = [(i, float(rate)) for i, rate in enumerate(self._rates[0]) if np.isfinite(rate)]
        self._start = np.array([numbers(settings.start, 0.0, action, f"{where}.start")])
        self._assumed_s, self._longest_s = settings.assumed_step_s, settings.longest_s

    def margin(self, batch: Batch, actions: Array) -> Numbers:
        """What is left of the change allowed, of the element with least."""
        before, steps = self._allowed(batch)
        left = steps - np.abs(actions - before)
        return _least(left if self._all_limited else np.where(self._limited, left, np.inf))

    def clear(self, batch: Batch, actions: Array) -> bool:
        """By comparison, where everything is remembered."""
        memory = batch.remembered
        if memory is None:
            return False
        before = memory.previous.reshape(actions.shape).astype(np.float64)
        steps = self._steps(np.minimum(memory.elapsed_s, self._longest_s))
        return all_true(np.abs(actions - before) <= steps)

    def clear_one(self, batch: Batch, action: Sequence[float]) -> bool:
        """By comparison, where everything is remembered."""
        memory = batch.memory
        if memory is None or not memory.known.item():
            return False
        elapsed = memory.elapsed_s.item()
        if not elapsed <= self._longest_s:
            elapsed = self._longest_s if elapsed > self._longest_s else -1.0
        before = memory.previous.ravel().tolist()
        for i, rate in self._each:  # noqa: SIM110  generators cost more
            if not abs(action[i] - before[i]) <= elapsed * rate:
                return False
        return True

    def limits(self, batch: Batch) -> tuple[Numbers, Numbers]:
        """Around the action before, and where rounding demands it a hair within: `margin` lets them pass."""
        before, steps = self._allowed(batch)
        before = before.astype(np.float64)
        with np.errstate(invalid="ignore"):
            low, high = before - steps, before + steps
            low = np.where(before - low > steps, np.nextafter(low, np.inf), low)
            high = np.where(high - before > steps, np.nextafter(high, -np.inf), high)
        if self._all_limited:
            return low, high
        return np.where(self._limited, low, -np.inf), np.where(self._limited, high, np.inf)

    def _allowed(self, batch: Batch) -> tuple[Array, Numbers]:
        """The actions before, [N or 1, D], and how far each element may be from there, [N or 1, D]."""
        memory = batch.memory
        if memory is None:
            return self._start, self._steps(np.array([self._assumed_s]))
        elapsed = np.where(memory.known & (memory.elapsed_s >= 0), memory.elapsed_s, self._assumed_s)
        before = np.where(
            memory.known[:, None], memory.previous.reshape(batch.rows, self._rates.shape[1]), self._start
        )
        return before, self._steps(np.minimum(elapsed, self._longest_s))

    def _steps(self, elapsed: Numbers) -> Numbers:
        if self._all_limited:
            steps: Numbers = elapsed[:, None] * self._rates
            return steps
        with np.errstate(invalid="ignore"):  # no limit, after no time: still none
            return np.where(self._limited, elapsed[:, None] * self._rates, np.inf)


class Zone(Remembering):
    """`forbid_zone`: not between the limits in every one of some elements; the limits are allowed.

    Attributes:
        elements: Which elements, ascending.
        low: Lower face of each, infinite where there is none.
        high: Upper face of each.
    """

    def __init__(self, settings: Mapping[str, Interval], action: BoxAction, where: str) -> None:
        low, high = intervals(settings, action, where)
        self.elements = np.flatnonzero(np.isfinite(low) | np.isfinite(high))
        self.low, self.high = low[self.elements], high[self.elements]
        self._faces = list(zip(self.elements.tolist(), self.low.tolist(), self.high.tolist(), strict=True))

    def margin(self, batch: Batch, actions: Array) -> Numbers:  # noqa: ARG002
        """How far outside: of the element furthest out."""
        sides = [np.maximum(low - actions[:, i], actions[:, i] - high) for i, low, high in self._faces]
        furthest: Numbers = sides[0] if len(sides) == 1 else np.maximum.reduce(sides)
        return furthest

    def clear(self, batch: Batch, actions: Array) -> bool:
        """By the margins."""
        return int(np.count_nonzero(self.margin(batch, actions) >= 0)) == batch.rows

    def clear_one(self, batch: Batch, action: Sequence[float]) -> bool:  # noqa: ARG002
        """By comparison; one element outside is enough."""
        for i, low, high in self._faces:
            if action[i] <= low or action[i] >= high:
                return len(self._faces) == 1 or all(map(isfinite, action))
        return False

    def limits(self, batch: Batch) -> None:  # noqa: ARG002
        """None: what is outside of a zone is no interval."""
        return


def _least(values: Numbers) -> Numbers:
    found: Numbers = values[:, 0] if values.shape[1] == 1 else np.minimum.reduce(values, axis=1)
    return found
