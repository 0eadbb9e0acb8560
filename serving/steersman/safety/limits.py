"""The limits that the guard holds observations against: from settings, contract and reference."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from steersman.bundle.features import feature_count
from steersman.bundle.reference import Reference
from steersman.bundle.specs import Contract, bounds, feature_names
from steersman.safety.columns import Array, feature_index
from steersman.safety.errors import SafetyError
from steersman.safety.guard_settings import GuardReason, GuardSettings

Limit = NDArray[np.float64]
"""[F] float64, one limit per feature; infinite where there is none."""

LARGEST = float(np.finfo(np.float64).max)


@dataclass(frozen=True, slots=True)
class Check:
    """Limits on every feature; a value that is not between them fails, and NaN never is.

    Attributes:
        reason: What a row that fails is said to be.
        rejects: Whether it then fails with an error instead of falling back.
        origin: Where the limits come from, for people.
        low: [F], lowest value that passes.
        high: [F], highest value that passes.
    """

    reason: GuardReason
    rejects: bool
    origin: str
    low: Limit
    high: Limit

    def outside(self, values: Array, columns: slice) -> NDArray[np.bool_]:
        """Which of these values [N, C], of features `columns`, fail: [N, C]."""
        return ~((values >= self.low[columns]) & (values <= self.high[columns]))

    def expected(self, feature: int) -> str:
        """What this feature should have been, for people."""
        low, high = self.low[feature], self.high[feature]
        if self.reason is GuardReason.OBSERVATION_NON_FINITE:
            return "a finite number"
        if np.isinf(high):
            return f"at least {low:.7g} ({self.origin})"
        if np.isinf(low):
            return f"at most {high:.7g} ({self.origin})"
        return f"{low:.7g} to {high:.7g} ({self.origin})"


def build_checks(settings: GuardSettings, contract: Contract, reference: Reference | None) -> list[Check]:
    """The checks that are on, in the order in which they decide; finiteness, always on, is the first.

    Raises:
        SafetyError: A feature is unknown, or the training range is asked for without a reference.
    """
    return list(_checks(settings, contract, reference))


def _checks(settings: GuardSettings, contract: Contract, reference: Reference | None) -> Iterator[Check]:
    largest = np.full(feature_count(contract), LARGEST)
    reason = GuardReason.OBSERVATION_NON_FINITE
    yield Check(reason, settings.non_finite == "reject", "", -largest, largest)
    reason = GuardReason.OBSERVATION_OUT_OF_BOUNDS
    if settings.bounds != "off":
        yield Check(reason, settings.bounds == "reject", "declared bounds", *_declared(contract))
    if settings.ranges:
        rejects = settings.ranges_action == "reject"
        yield Check(reason, rejects, "range set by the deployment", *_ranges(settings, contract))
    if settings.training_range:
        reason = GuardReason.OBSERVATION_OUT_OF_TRAINING_RANGE
        margin, rejects = settings.training_range.margin, settings.training_range.action == "reject"
        origin = f"training range with margin {margin:g}"
        yield Check(reason, rejects, origin, *_trained(margin, contract, reference))


def _declared(contract: Contract) -> tuple[Limit, Limit]:
    each = [bounds(spec) for spec in contract.observations]
    low, high = (np.concatenate([limit.ravel() for limit in side]) for side in zip(*each, strict=True))
    return low, high


def _ranges(settings: GuardSettings, contract: Contract) -> tuple[Limit, Limit]:
    names = feature_names(contract)
    low, high = np.full(len(names), -np.inf), np.full(len(names), np.inf)
    for name, limits in settings.ranges.items():
        column = feature_index(name, names, "guard.ranges")
        low[column] = -np.inf if limits.low is None else limits.low
        high[column] = np.inf if limits.high is None else limits.high
    return low, high


def _trained(margin: float, contract: Contract, reference: Reference | None) -> tuple[Limit, Limit]:
    where, count = "guard.training_range", feature_count(contract)
    expected = f"a bundle with a reference of its {count} features"
    if reference is None:
        raise SafetyError("the bundle has no reference", where=where, expected=expected)
    edges = reference.feature_edges
    if len(edges) != count:
        raise SafetyError(f"the reference has {len(edges)} features", where=where, expected=expected)
    first, last = edges[:, 0], edges[:, -1]
    with np.errstate(invalid="ignore", over="ignore"):  # edges may be infinite or NaN: no limit there
        low, high = first - margin * (last - first), last + margin * (last - first)
    return np.where(np.isnan(low), -np.inf, low), np.where(np.isnan(high), np.inf, high)
