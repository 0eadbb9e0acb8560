"""What runs on a thread rather than inline, and how long it takes there: worked out from measurements."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass

from steersman.serving.deciding.routing import PolicyRuntime
from steersman.serving.rollout.deployment import BatchingSettings

INLINE_ROW_S = 0.5e-3
"""A model that takes longer for one row runs on a thread: meanwhile the transport could not read calls."""
INLINE_BATCH_S = 3e-3
"""Likewise for the largest batch that was timed: calls that wait together are decided together."""
UNKNOWN_S = 1e-3
"""What a model is thought to take that nobody has timed."""


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """How a policy is run on its thread.

    Attributes:
        timings: Seconds that the model takes, by rows, in rising order of rows.
        max_delay_ns: Longest wait for company.
        preferred_rows: Sizes at which a batch begins at once, rising; the last one is the most.
    """

    timings: tuple[tuple[int, float], ...]
    max_delay_ns: int
    preferred_rows: tuple[int, ...]

    @property
    def most_rows(self) -> int:
        """Most rows of a batch, unless one call alone has more."""
        return self.preferred_rows[-1]

    def seconds(self, rows: int) -> float:
        """What the model takes for so many rows.

        Between two timings that is a line, beyond the last one it grows with the rows.
        """
        if not self.timings or rows <= 0:
            return UNKNOWN_S if rows > 0 else 0.0
        place = bisect_left(self.timings, (rows, 0.0))
        if place == len(self.timings):
            most, taken = self.timings[-1]
            return taken * rows / most
        above, slower = self.timings[place]
        if place == 0 or above == rows:
            return slower
        below, faster = self.timings[place - 1]
        return faster + (slower - faster) * (rows - below) / (above - below)

    def seconds_in_batches(self, rows: int) -> float:
        """What rows take that run as full batches, one after the other."""
        full, rest = divmod(rows, self.most_rows)
        return full * self.seconds(self.most_rows) + self.seconds(rest)


def plan_batching(policy: PolicyRuntime) -> BatchPlan | None:
    """How the policy is run on a thread; None where it is run inline.

    A policy of several versions runs where its slowest one should: their rows wait in one queue.
    """
    settings = policy.route.batching
    if settings.run == "inline" or not policy.lanes:
        return None
    slowest = slowest_timings(policy)
    if settings.run == "auto" and not is_heavy(slowest):
        return None
    return make_plan(settings, slowest)


def slowest_timings(policy: PolicyRuntime) -> dict[int, float]:
    """Seconds by rows of the slowest version that answers."""
    slowest: dict[int, float] = {}
    for lane in policy.lanes:
        if lane.role == "shadow":
            continue
        for rows, seconds in lane.loaded.timings.items():
            slowest[rows] = max(seconds, slowest.get(rows, 0.0))
    return slowest


def make_plan(settings: BatchingSettings, timings: Mapping[int, float]) -> BatchPlan:
    """The plan for a thread."""
    preferred = tuple(sorted(set(settings.preferred_rows))) or (1,)
    return BatchPlan(tuple(sorted(timings.items())), int(settings.max_delay_ms * 1e6), preferred)


def is_heavy(timings: Mapping[int, float]) -> bool:
    """Whether the model would keep the transport's thread for too long. What was not timed is not heavy."""
    if not timings:
        return False
    return timings[min(timings)] > INLINE_ROW_S or timings[max(timings)] > INLINE_BATCH_S
