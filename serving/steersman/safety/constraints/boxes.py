"""Constraints on the elements of a Box, one by one: limits, rates of change, forbidden zones."""

from __future__ import annotations

from collections.abc import Mapping

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

    @classmethod
    def compile(cls, settings: Mapping[str, Interval], action: BoxAction, where: str) -> Limits:
        """From settings.

        Raises:
            SafetyError: There is no such element.
        """
        return cls(*intervals(settings, action, where))

    def margin(self, batch: Batch, actions: Array) -> Numbers:  # noqa: ARG002
        """Distance of the nearest element to its limit."""
        return _least(np.minimum(actions - self.low, self.high - actions))

    def clear(self, batch: Batch, actions: Array) -> bool:  # noqa: ARG002
        """By comparison."""
        return all_true(actions >= self.low) and all_true(actions <= self.high)

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
        self._start = np.array([numbers(settings.start, 0.0, action, f"{where}.start")])
        self._assumed_s, self._longest_s = settings.assumed_step_s, settings.longest_s

    def margin(self, batch: Batch, actions: Array) -> Numbers:
        """What is left of the change allowed, of the element with least."""
        before, steps = self._allowed(batch)
        left = steps - np.abs(np.subtract(actions, before, dtype=np.float64))
        return _least(left if self._all_limited else np.where(self._limited, left, np.inf))

    def clear(self, batch: Batch, actions: Array) -> bool:
        """By comparison, where everything is remembered."""
        memory = batch.remembered
        if memory is None:
            return False
        before = memory.previous.reshape(actions.shape)
        steps = self._steps(np.minimum(memory.elapsed_s, self._longest_s))
        change = np.abs(np.subtract(actions, before, dtype=np.float64))
        return all_true(change <= steps)

    def limits(self, batch: Batch) -> tuple[Numbers, Numbers]:
        """Around the action before; a hair within, so that what is between them passes `margin`."""
        before, steps = self._allowed(batch)
        before = before.astype(np.float64)
        with np.errstate(invalid="ignore"):
            low = np.minimum(np.nextafter(before - steps, np.inf), before)
            high = np.maximum(np.nextafter(before + steps, -np.inf), before)
        if self._all_limited:
            return low, high
        return np.where(self._limited, low, -np.inf), np.where(self._limited, high, np.inf)

    def _allowed(self, batch: Batch) -> tuple[Array, Numbers]:
        """The actions before, [N or 1, D], and how far each element may be from there, [N or 1, D]."""
        memory = batch.memory
        if memory is None:
            return self._start, self._steps(np.array([self._assumed_s]))
        elapsed = np.where(memory.known & (memory.elapsed_s >= 0), memory.elapsed_s, self._assumed_s)
        before = np.where(memory.known[:, None], memory.previous.reshape(batch.rows, -1), self._start)
        return before, self._steps(np.minimum(elapsed, self._longest_s))

    def _steps(self, elapsed: Numbers) -> Numbers:
        if self._all_limited:
            return elapsed[:, None] * self._rates
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
        self._whole = len(self.elements) == action.size
        self.low, self.high = low[self.elements], high[self.elements]
        self._low, self._high = self.low[None], self.high[None]

    def margin(self, batch: Batch, actions: Array) -> Numbers:  # noqa: ARG002
        """How far outside: of the element furthest out."""
        own = actions if self._whole else actions[:, self.elements]
        return _greatest(np.maximum(self._low - own, own - self._high))

    def clear(self, batch: Batch, actions: Array) -> bool:  # noqa: ARG002
        """By comparison; elements count together."""
        own = actions if self._whole else actions[:, self.elements]
        outside = (own <= self._low) | (own >= self._high)
        if len(self.elements) == 1:
            return all_true(outside)
        return all_true(np.logical_or.reduce(outside, axis=1))

    def limits(self, batch: Batch) -> None:  # noqa: ARG002
        """None: what is outside of a zone is no interval."""
        return


def _least(values: Numbers) -> Numbers:
    found: Numbers = np.minimum.reduce(values, axis=1, initial=np.inf)
    return found


def _greatest(values: Numbers) -> Numbers:
    found: Numbers = np.maximum.reduce(values, axis=1)
    return found
