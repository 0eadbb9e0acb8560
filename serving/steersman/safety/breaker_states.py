"""The states of a breaker, and what leads from one to another: values for metrics, logs and audit entries."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class BreakerState(StrEnum):
    """Whether the version answers."""

    CLOSED = "closed"
    """It answers, and what becomes of its decisions is watched."""
    HALF_OPEN = "half_open"
    """It is asked again for a share of the rows that grows by stages."""
    OPEN = "open"
    """It is not asked."""


class BreakerCause(StrEnum):
    """Why a breaker goes from one state to another."""

    ERRORS = "errors"
    """The model failed too many decisions."""
    LATE = "late"
    """Too many decisions took too long."""
    GUARDED = "guarded"
    """The guard kept too many rows from the model."""
    WAITED = "waited"
    """It was open for as long as it shall be."""
    HEALTHY = "healthy"
    """Every stage of the ramp saw enough healthy decisions, and that took long enough."""


@dataclass(frozen=True, slots=True)
class Transition:
    """One change of state.

    Attributes:
        before: The state that was left.
        after: The state that was entered.
        cause: Why, as a word of a closed set.
        why: Why, for people: the counts and the limit.
        at: Seconds of the breaker's clock.
    """

    before: BreakerState
    after: BreakerState
    cause: BreakerCause
    why: str
    at: float


TRANSITIONS: tuple[tuple[BreakerState, BreakerState], ...] = (
    (BreakerState.CLOSED, BreakerState.OPEN),
    (BreakerState.OPEN, BreakerState.HALF_OPEN),
    (BreakerState.HALF_OPEN, BreakerState.OPEN),
    (BreakerState.HALF_OPEN, BreakerState.CLOSED),
)
"""All that there are."""
