"""Limits on sums over the elements of a Box and features of the observation."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from math import isfinite

import numpy as np

from steersman.bundle.features import feature_count
from steersman.bundle.specs import Contract
from steersman.safety.columns import Array
from steersman.safety.constraints.batch import Batch, Numbers, Remembering
from steersman.safety.constraints.naming import element_names, term
from steersman.safety.constraints.settings import LinearSettings
from steersman.safety.errors import SafetyError


class Sums(Remembering):
    """`linear`: A x + B features <= b, row by row.

    Terms are added one after the other, in numpy as in plain numbers: a sum has the same bits alone and in
    any batch, which numpy's own sums do not promise.

    Attributes:
        factors: [K, D], A.
        observes: Whether features are read.
    """

    def __init__(self, factors: Numbers, features: Numbers, at_most: Numbers) -> None:
        self.factors, self.features, self.at_most = factors, features, at_most
        self.observes = bool(features.any())
        self._sums = [
            (_terms(own), _terms(observed), limit)
            for own, observed, limit in zip(factors, features, at_most.tolist(), strict=True)
        ]

    @classmethod
    def compile(cls, settings: Sequence[LinearSettings], contract: Contract, where: str) -> Sums:
        """From settings; a lower limit is an upper one of the negated sum.

        Raises:
            SafetyError: A term is neither an element nor a feature, or no element is in a sum.
        """
        rows = [
            _rows(each, contract, f"{where}[{i}]" if len(settings) > 1 else where)
            for i, each in enumerate(settings)
        ]
        import_module("daqp")  # it is needed by the first row that violates a sum: now is better than then
        factors, features, limits = zip(*(row for group in rows for row in group), strict=True)
        return cls(np.array(factors), np.array(features), np.array(limits))

    def margin(self, batch: Batch, actions: Array) -> Numbers:
        """What is left of the limit of the sum with least."""
        with np.errstate(all="ignore"):
            left = [
                limit - _sum(own, actions)
                for (own, _, _), limit in zip(self._sums, self._limits(batch), strict=True)
            ]
        least: Numbers = left[0] if len(left) == 1 else np.minimum.reduce(left)
        return least

    def clear(self, batch: Batch, actions: Array) -> bool:
        """By the margins."""
        return int(np.count_nonzero(self.margin(batch, actions) >= 0)) == batch.rows

    def clear_one(self, batch: Batch, action: Sequence[float]) -> bool:
        """By the margins."""
        if self.observes and batch.features is None:
            return False
        for own, observed, limit in self._sums:
            left = limit
            if observed and batch.features is not None:
                seen = 0.0
                for column, factor in observed:
                    seen += batch.features.item(column) * factor
                left = limit - seen
            total = 0.0
            for i, factor in own:
                total += action[i] * factor
            if not left - total >= 0 or not isfinite(left):
                return False
        return True

    def keeps(self, action: Numbers, spans: Sequence[tuple[float, float]]) -> bool:
        """Whether an action [D] keeps every sum, whatever the features are within these spans."""
        for own, observed, limit in self._sums:
            worst = [max(factor * spans[i][0], factor * spans[i][1]) for i, factor in observed]
            if not limit - sum(worst) - sum(action[i] * factor for i, factor in own) >= 0:
                return False
        return True

    def limits(self, batch: Batch) -> None:  # noqa: ARG002
        """None: the limits are not on elements."""
        return

    def limits_of(self, batch: Batch) -> Numbers:
        """What is left for the elements when the features' part is taken off: [N, K], NaN for unknown."""
        limits = [np.broadcast_to(np.asarray(limit), (batch.rows,)) for limit in self._limits(batch)]
        return np.stack(limits, axis=1)

    def _limits(self, batch: Batch) -> list[float | Numbers]:
        return [self._limit(batch, observed, limit) for _, observed, limit in self._sums]

    def _limit(self, batch: Batch, observed: Terms, limit: float) -> float | Numbers:
        if not observed:
            return limit
        if batch.features is None:
            return np.nan
        with np.errstate(all="ignore"):  # of NaN and infinities nobody can say what is left
            left: Numbers = limit - _sum(observed, batch.features)
            left[~np.isfinite(left)] = np.nan
        return left


Terms = list[tuple[int, float]]
"""Column and factor of each term."""


def _terms(factors: Numbers) -> Terms:
    return [(int(i), float(factors[i])) for i in np.flatnonzero(factors)]


def _sum(terms: Terms, columns: Array) -> Numbers:
    total: Numbers = columns[:, terms[0][0]] * terms[0][1]
    for column, factor in terms[1:]:
        total = total + columns[:, column] * factor
    return total


def _rows(settings: LinearSettings, contract: Contract, where: str) -> list[tuple[Numbers, Numbers, float]]:
    factors = np.zeros(len(element_names(contract.action)))
    features = np.zeros(feature_count(contract))
    for name, factor in settings.terms.items():
        element, feature = term(name, contract, f"{where}.terms.{name}")
        if element is not None:
            factors[element] += factor
        elif feature is not None:
            features[feature] += factor
    if not factors.any():
        raise SafetyError("no element of the action is in the sum", where=f"{where}.terms", expected="one")
    rows = []
    if settings.at_most is not None:
        rows.append((factors, features, settings.at_most))
    if settings.at_least is not None:
        rows.append((-factors, -features, -settings.at_least))
    return rows
