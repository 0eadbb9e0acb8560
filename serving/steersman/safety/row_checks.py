"""Checks of the guard that look at a row as a whole: with its past, its age, or all its features together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from steersman.bundle.features import has_named_features
from steersman.bundle.specs import Contract
from steersman.safety.columns import Features, Rows
from steersman.safety.errors import SafetyError
from steersman.safety.guard_settings import GuardReason
from steersman.safety.memory import Memory


@dataclass(slots=True)  # not frozen: that makes one twice as dear, and there is one per batch
class Given:
    """What is known of N rows. Not to be changed.

    Attributes:
        features: [N, F].
        memory: What is remembered of their episodes; None where nothing is.
        ages_s: [N] float64, seconds since each observation was made, negative where that lies in the future,
            NaN where not known; None where it is not known of any.
    """

    features: Features
    memory: Memory | None
    ages_s: NDArray[np.float64] | None

    def row(self, row: int) -> Given:
        """One row of them."""
        return Given(
            self.features[row : row + 1],
            None if self.memory is None else self.memory.take(np.array([row])),
            None if self.ages_s is None else self.ages_s[row : row + 1],
        )


class RowCheck(Protocol):
    """One check, compiled."""

    @property
    def reason(self) -> GuardReason:
        """What a row that fails is said to be."""
        ...

    @property
    def rejects(self) -> bool:
        """Whether it then fails with an error instead of falling back."""
        ...

    def failing(self, given: Given) -> Rows | None:
        """Which rows fail, [N]; None where none does."""
        ...

    def explain(self, given: Given) -> str:
        """What is wrong with the one row given, for people; empty if it passes."""
        ...


def some(rows: Rows) -> Rows | None:
    """The rows, or None where there are none of them."""
    return rows if np.count_nonzero(rows) else None


def verdicts(checks: Sequence[RowCheck], given: Given) -> list[tuple[RowCheck, Rows]]:
    """The checks that some row fails, with the rows that fail them."""
    return [(check, failing) for check in checks if (failing := check.failing(given)) is not None]


def need_named_features(contract: Contract, where: str) -> None:
    """That features are few enough to be looked at one by one.

    Raises:
        SafetyError: There are too many.
    """
    if not has_named_features(contract):
        raise SafetyError(
            "the observation has too many elements to look at each",
            where=where,
            expected="a policy with named features, no images",
        )
