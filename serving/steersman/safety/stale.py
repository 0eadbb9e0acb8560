"""Stale observations: those that were made too long ago, or do not say when."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from steersman.safety.columns import Rows
from steersman.safety.guard_settings import GuardReason, StaleObservation
from steersman.safety.row_checks import Given, RowCheck, some


def stale_checks(settings: StaleObservation) -> list[RowCheck]:
    """The checks that these settings describe: of the age, and of rows that do not tell it."""
    checks: list[RowCheck] = [AgeCheck(settings.max_age_s, settings.action == "reject")]
    if settings.missing != "pass":
        checks.append(AgeUnknownCheck(settings.missing == "reject"))
    return checks


@dataclass(frozen=True, slots=True)
class AgeCheck:
    """Refuses rows that are too old, or from a future as far. Those of unknown age pass.

    Attributes:
        max_age_s: Oldest allowed, seconds.
        rejects: Whether an older row fails with an error instead of falling back.
        reason: What such a row is said to be.
    """

    max_age_s: float
    rejects: bool
    reason: GuardReason = GuardReason.OBSERVATION_STALE

    def failing(self, given: Given) -> Rows | None:
        """Rows of a known age beyond the limit."""
        if given.ages_s is None:
            return None
        return some(np.abs(given.ages_s) > self.max_age_s)

    def explain(self, given: Given) -> str:
        """Says how old the row is."""
        if self.failing(given) is None or given.ages_s is None:
            return ""
        age = float(given.ages_s[0])
        what = f"is {age:.4g} s old" if age > 0 else f"was made {-age:.4g} s in the future"
        return f"the observation {what} by the server's clock; expected at most {self.max_age_s:g} s"


@dataclass(frozen=True, slots=True)
class AgeUnknownCheck:
    """Refuses rows that do not say when they were made.

    Attributes:
        rejects: Whether such a row fails with an error instead of falling back.
        reason: What it is said to be.
    """

    rejects: bool
    reason: GuardReason = GuardReason.OBSERVATION_STALE

    def failing(self, given: Given) -> Rows | None:
        """Rows of unknown age."""
        return some(_unknown(given))

    def explain(self, given: Given) -> str:
        """Says what is missing."""
        if not _unknown(given)[0]:
            return ""
        return "the observation does not say when it was made; expected observation_times_unix_nanos"


def _unknown(given: Given) -> NDArray[np.bool_]:
    rows = len(given.features)
    return np.ones(rows, np.bool_) if given.ages_s is None else np.isnan(given.ages_s)
