"""Where each call is decided: at once, by the thread that brings it, or on a thread of its policy's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from steersman.serving.deciding.call import Call
from steersman.serving.deciding.routing import PolicyRuntime
from steersman.serving.dispatching.batching import BatchPlan, make_plan, plan_batching, slowest_timings

INLINE_DECIDE_S = 5e-3
"""Longest that one `decide` may keep the transport's thread, by what was timed: meanwhile no call is read."""
NO_LIMIT = 1 << 62


@dataclass(frozen=True, slots=True)
class PolicyPlan:
    """Where a policy's calls are decided.

    Attributes:
        key: An input whose elements tell the rows of a call that nobody has checked yet.
        row_size: Elements of a row of that input.
        inline_rows: Most rows that one `decide` of the transport's thread takes.
        thread: How calls of more rows run on a thread; None where all are decided at once.
    """

    key: str
    row_size: int
    inline_rows: int
    thread: BatchPlan | None

    def rows(self, call: Call) -> int:
        """Rows of a call; 1 where it will turn out to be malformed."""
        tensor = call.observations.get(self.key)
        return (tensor.elements.size // self.row_size or 1) if tensor is not None else 1


def plan_places(policies: Mapping[str, PolicyRuntime]) -> dict[str, PolicyPlan]:
    """Where the calls of each policy are decided; those that have nothing loaded are left out."""
    return {name: _plan(policy) for name, policy in policies.items() if policy.lanes}


def _plan(policy: PolicyRuntime) -> PolicyPlan:
    spec = policy.lanes[0].contract.observations[0]
    key, row_size, settings = spec.key, max(spec.size, 1), policy.route.batching
    thread = plan_batching(policy)
    if thread is not None:
        return PolicyPlan(key, row_size, 0, thread)
    timed = make_plan(settings, slowest_timings(policy))
    return PolicyPlan(
        key, row_size, rows_within(timed, INLINE_DECIDE_S), timed if settings.run == "auto" else None
    )


def rows_within(plan: BatchPlan, seconds: float) -> int:
    """Most rows, at least one, for which the model takes no longer. What was not timed has no limit."""
    if not plan.timings:
        return NO_LIMIT
    most, taken = plan.timings[-1]
    if 0 < taken <= seconds:
        return int(most * (seconds / taken))
    if taken <= 0:
        return NO_LIMIT
    low, high = 1, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if plan.seconds(middle) <= seconds else (low, middle - 1)
    return low
