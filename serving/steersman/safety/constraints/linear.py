"""Limits on sums over the elements of a Box and features of the observation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from steersman.bundle.specs import BoxAction, Contract
from steersman.safety.columns import Array
from steersman.safety.constraints.batch import Batch, Numbers, Remembering
from steersman.safety.constraints.naming import term
from steersman.safety.constraints.settings import LinearSettings
from steersman.safety.errors import SafetyError


class Sums(Remembering):
    """`linear`: A x + B features <= b, row by row.

    Attributes:
        factors: [K, D], A.
        observed: Columns of features that are read.
    """

    def __init__(self, factors: Numbers, features: Numbers, at_most: Numbers) -> None:
        self.factors = factors
        self._at_most = at_most
        self._elements = [np.flatnonzero(row) for row in factors]
        self._own = [row[used] for row, used in zip(factors, self._elements, strict=True)]
        self.observed: NDArray[np.intp] = np.flatnonzero(np.any(features != 0, axis=0))
        self._features = features[:, self.observed]

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
        factors, features, limits = zip(*(row for group in rows for row in group), strict=True)
        return cls(np.array(factors), np.array(features), np.array(limits))

    def margin(self, batch: Batch, actions: Array) -> Numbers:
        """What is left of the limit of the sum with least."""
        left = [
            limit - np.add.reduce(np.multiply(actions[:, used], own, dtype=np.float64), axis=1)
            for limit, used, own in zip(self.limits_of(batch).T, self._elements, self._own, strict=True)
        ]
        return left[0] if len(left) == 1 else np.minimum.reduce(left)

    def clear(self, batch: Batch, actions: Array) -> bool:
        """By the margins."""
        return bool(np.count_nonzero(self.margin(batch, actions) >= 0) == batch.rows)

    def limits(self, batch: Batch) -> None:  # noqa: ARG002
        """None: the limits are not on elements."""
        return

    def limits_of(self, batch: Batch) -> Numbers:
        """What is left for the elements when the features' part is taken off: [N or 1, K]."""
        if not self.observed.size:
            return self._at_most[None]
        if batch.features is None:
            return np.full((1, len(self._at_most)), np.nan)
        read = batch.features[:, self.observed]
        with np.errstate(all="ignore"):  # NaN and infinities leave nothing that could be said to be kept
            taken = np.add.reduce(read[:, None, :] * self._features, axis=2)
            limits: Numbers = np.where(np.isfinite(taken), self._at_most - taken, np.nan)
        return limits


def _rows(settings: LinearSettings, contract: Contract, where: str) -> list[tuple[Numbers, Numbers, float]]:
    assert isinstance(contract.action, BoxAction)
    factors = np.zeros(contract.action.size)
    features = np.zeros(sum(spec.size for spec in contract.observations))
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
