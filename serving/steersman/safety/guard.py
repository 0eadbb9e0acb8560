"""The guard: may this observation be shown to the policy at all?

Each row is checked for values that are not finite, outside declared bounds, outside ranges that the
deployment sets, and outside the range seen in training; for sensors that are stuck, for its age, and for the
distance of all its features together from training. In this order, and the first check that fails decides the
verdict. A row's verdict never depends on the other rows. How sure the policy is, after it has answered, is in
`confidence`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from steersman.bundle.features import feature_matrix, flat
from steersman.bundle.reference import Reference
from steersman.bundle.specs import Contract, DTypeName, ObservationSpec, bounds, feature_names
from steersman.safety.columns import Array, Features, Observations, Rows, all_true, any_column
from steersman.safety.distance import DistanceCheck
from steersman.safety.guard_settings import (
    GUARD_REASONS,
    FeatureRange,
    GuardReason,
    GuardSettings,
    TrainingRange,
)
from steersman.safety.limits import LARGEST, Check, Limit, build_checks
from steersman.safety.memory import Fields, Memory
from steersman.safety.row_checks import Given, RowCheck, verdicts
from steersman.safety.stale import stale_checks
from steersman.safety.stuck import StuckCheck

__all__ = [
    "GUARD_REASONS",
    "FeatureRange",
    "Guard",
    "GuardReason",
    "GuardSettings",
    "TrainingRange",
    "Verdicts",
    "benign_row",
]


@dataclass(frozen=True, slots=True)
class Verdicts:
    """The guard's verdicts on N rows. Read-only.

    Attributes:
        clean: True when every row passed; nothing else needs to be looked at then.
        passed: [N] bool, rows that may be shown to the policy.
        rejected: [N] bool, rows that fail with an error; those neither passed nor rejected fall back.
        codes: [N] int8, positions in `GUARD_REASONS`; 0 where passed.
    """

    clean: bool
    passed: Rows
    rejected: Rows
    codes: NDArray[np.int8]


@dataclass(frozen=True, slots=True)
class _Part:
    """Features that are checked together: one tensor's, or all of them.

    Attributes:
        columns: Which features.
        passes: Whether values [N, columns] pass every check, as a whole: the fast path.
    """

    columns: slice
    passes: Callable[[Array], bool]


class Guard:
    """The checks of one deployment on one policy, compiled. Use `Guard.compile`."""

    def __init__(
        self, checks: Sequence[Check], contract: Contract, row_checks: Sequence[RowCheck] = ()
    ) -> None:
        self._checks = tuple(checks)
        self._row_checks = tuple(row_checks)
        self._stuck = next((check for check in row_checks if isinstance(check, StuckCheck)), None)
        self._contract = contract
        self._names = feature_names(contract)
        low = np.maximum.reduce([check.low for check in checks])  # the tightest limits:
        high = np.minimum.reduce([check.high for check in checks])  # within them, every check passes
        self._whole = _Part(slice(0, len(low)), _fast_path(low, high, "float64"))
        self._tensors = tuple(
            (spec, _Part(columns, _fast_path(low[columns], high[columns], spec.dtype)))
            for spec, columns in _layout(contract)
        )

    @classmethod
    def compile(
        cls, settings: GuardSettings, contract: Contract, reference: Reference | None = None
    ) -> Guard:
        """The guard that these settings describe for this policy.

        Args:
            settings: From the deployment. Its `confidence` is for `Confidence.compile`.
            contract: The policy's contract.
            reference: The bundle's reference for the serving mode; needed by `training_range` and `distance`.

        Raises:
            SafetyError: A feature is unknown, or the reference is absent or lacks what is asked of it.
        """
        checks = build_checks(settings, contract, reference)
        return cls(checks, contract, list(_row_checks(settings, contract, reference)))

    def fields(self) -> Fields:
        """What has to be remembered of an episode between its steps."""
        return {} if self._stuck is None else self._stuck.fields()

    def check(
        self,
        observations: Observations,
        features: Features | None = None,
        memory: Memory | None = None,
        ages_s: NDArray[np.float64] | None = None,
    ) -> Verdicts:
        """Verdicts on N rows.

        Args:
            observations: [N, *shape] under each input name, in the declared dtypes.
            features: The same as a matrix [N, F], where there is one: it is read instead, which is faster.
            memory: What is remembered of the rows' episodes; None where nothing is: nothing then is stuck.
            ages_s: [N] float64, seconds since each observation was made, NaN where it does not say; None
                where none says.
        """
        parts = self._parts(observations, features)
        failing: Sequence[tuple[RowCheck, Rows]] = ()
        if self._row_checks:
            failing = verdicts(self._row_checks, self._given(observations, features, memory, ages_s))
            if failing:
                return self._judged(parts, failing)
        for part, values in parts:
            if not part.passes(values):
                return self._judged(parts, failing)
        return _all_passed(len(parts[0][1]))

    def update(self, memory: Memory, features: Features) -> None:
        """Remembers what the next step's check needs; once per step, after `check`.

        Args:
            memory: Of all N rows; its cells are written to.
            features: [N, F] of this step.
        """
        if self._stuck is not None:
            self._stuck.update(memory, features)

    def explain(
        self,
        row: int,
        observations: Observations,
        features: Features | None = None,
        memory: Memory | None = None,
        ages_s: NDArray[np.float64] | None = None,
        *,
        reason: str = "",
    ) -> str:
        """What is wrong with a row: its first offending feature, the value, what was expected.

        Args:
            row: Counted from 0.
            observations: As for `check`.
            features: As for `check`.
            memory: As for `check`; it may have been updated meanwhile if the reason is told.
            ages_s: As for `check`.
            reason: The row's verdict, where it is known; other checks are then left out.

        Returns:
            Such as "feature 'pole_angle' is 0.5; expected at most 0.4 (declared bounds)"; empty if it passed.
        """
        parts = [(part, values[row : row + 1]) for part, values in self._parts(observations, features)]
        for check in self._checks:
            if reason in {"", check.reason} and (found := self._outside(check, parts)):
                return found
        if not self._row_checks:
            return ""
        given = self._given(observations, features, memory, ages_s).row(row)
        told = (check.explain(given) for check in self._row_checks if reason in {"", check.reason})
        return next(filter(None, told), "")

    def _outside(self, check: Check, parts: list[tuple[_Part, Array]]) -> str:
        """The first feature of one row that is outside of a check's limits, in words; empty if none is."""
        for part, values in parts:
            outside = np.flatnonzero(check.outside(values, part.columns))
            if outside.size:
                column = int(outside[0])
                feature = part.columns.start + column
                value, expected = float(values[0, column]), check.expected(feature)
                return f"feature {self._names[feature]!r} is {value:.7g}; expected {expected}"
        return ""

    def _given(
        self,
        observations: Observations,
        features: Features | None,
        memory: Memory | None,
        ages_s: NDArray[np.float64] | None,
    ) -> Given:
        if features is None:
            features = feature_matrix(observations, self._contract)
        return Given(features, memory, ages_s)

    def _parts(self, observations: Observations, features: Features | None) -> list[tuple[_Part, Array]]:
        if features is not None:
            return [(self._whole, features)]
        return [(part, flat(observations[spec.input_name], spec)) for spec, part in self._tensors]

    def _judged(
        self, parts: list[tuple[_Part, Array]], row_checks: Sequence[tuple[RowCheck, Rows]]
    ) -> Verdicts:
        rows = len(parts[0][1])
        codes = np.zeros(rows, np.int8)
        rejected = np.zeros(rows, np.bool_)
        failed: list[tuple[Check | RowCheck, Rows]] = [
            (check, _some_outside(check, parts, rows)) for check in self._checks
        ]
        for check, failing in (*failed, *row_checks):
            first = failing & (codes == 0)
            codes[first] = GUARD_REASONS.index(check.reason)
            rejected |= first & check.rejects
        return Verdicts(clean=False, passed=codes == 0, rejected=rejected, codes=codes)


def _row_checks(
    settings: GuardSettings, contract: Contract, reference: Reference | None
) -> Iterator[RowCheck]:
    """Those that are on, in the order in which they decide."""
    if settings.stuck is not None:
        yield StuckCheck.compile(settings.stuck, contract)
    if settings.stale is not None:
        yield from stale_checks(settings.stale)
    if settings.distance is not None:
        yield DistanceCheck.compile(settings.distance, contract, reference)


def _some_outside(check: Check, parts: list[tuple[_Part, Array]], rows: int) -> Rows:
    """Rows of which some feature is outside of a check's limits."""
    failing = np.zeros(rows, np.bool_)
    for part, values in parts:
        failing |= any_column(check.outside(values, part.columns))
    return failing


def benign_row(contract: Contract) -> dict[str, Array]:
    """One harmless observation, [1, *shape] under each input name: zeros, clipped into the declared bounds.

    It takes the place of guarded rows before inference, so that they cannot disturb anything.
    """
    return {spec.input_name: _benign(spec)[None] for spec in contract.observations}


def _benign(spec: ObservationSpec) -> Array:
    low, high = (np.nan_to_num(limit, posinf=LARGEST, neginf=-LARGEST) for limit in bounds(spec))
    return np.clip(np.zeros(spec.shape), low, high).astype(spec.dtype)


def _layout(contract: Contract) -> Iterator[tuple[ObservationSpec, slice]]:
    start = 0
    for spec in contract.observations:
        yield spec, slice(start, start + spec.size)
        start += spec.size


def _fast_path(low: Limit, high: Limit, dtype: DTypeName) -> Callable[[Array], bool]:
    """The cheapest test of whether all values of this dtype are within the limits."""
    is_float = dtype.startswith("float")
    if not is_float and _holds_all(low, high, dtype):
        return lambda _: True
    if is_float and np.all(low == -LARGEST) and np.all(high == LARGEST):
        return lambda values: all_true(np.isfinite(values))
    low, high = (
        low[None],
        high[None],
    )  # numpy compares [1, F] with [1, F] in a third of the time of broadcasting
    return lambda values: all_true(values >= low) and all_true(values <= high)


def _holds_all(low: Limit, high: Limit, dtype: DTypeName) -> bool:
    """Whether every value that an integer or bool type has is within the limits."""
    least, most = (0, 1) if dtype == "bool" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    return bool(np.all(low <= least) and np.all(high >= most))


@lru_cache(maxsize=1024)
def _all_passed(rows: int) -> Verdicts:
    """Made once per batch size, for this is what nearly every call gets."""
    passed, rejected, codes = np.ones(rows, np.bool_), np.zeros(rows, np.bool_), np.zeros(rows, np.int8)
    for column in (passed, rejected, codes):
        column.setflags(write=False)
    return Verdicts(clean=True, passed=passed, rejected=rejected, codes=codes)
