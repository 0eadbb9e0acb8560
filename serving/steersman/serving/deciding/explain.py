"""Words for the rows that the policy did not answer. Only such rows come here, one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from steersman.serving.deciding.remembering import ages_s
from steersman.serving.decision import REASONS, Reason, RowError

if TYPE_CHECKING:
    from steersman.serving.deciding.work import Work

_MESSAGES = {
    Reason.MODEL_ERROR: "the model could not be run",
    Reason.MODEL_NON_FINITE: "the model's output is not finite",
    Reason.ACTION_OUT_OF_SPACE: "the model's action is not in the action space",
    Reason.ACTION_MASKED: "the model's action is not allowed by the mask",
    Reason.MASK_ALL_FALSE: "action_mask forbids every choice of a segment; expected one that is allowed",
    Reason.DEADLINE_TOO_NEAR: "the deadline leaves the model no time",
    Reason.OVERLOAD: "more rows wait than the server keeps waiting",
    Reason.LOW_CONFIDENCE: "the policy is less sure of its action than the deployment asks for",
    Reason.BREAKER_OPEN: "the breaker of the policy's version does not let this row through",
    Reason.LATCHED: "the episode fell back lately, and the policy has not been healthy for long enough",
    Reason.OVERRIDE_PINNED: "the action that a person pinned is not allowed here",
    Reason.OVERRIDE_FALLBACK: "a person asked for the fallback",
    Reason.KILL_SWITCH: "the kill switch is on; no policy answers",
    Reason.LEASE_EXPIRED: "nobody has renewed the lease on autonomous operation",
    Reason.EPISODE_TOKEN_INVALID: "episode_token is none of this server's, or was changed; expected the "
    "one of the episode's last answer, or none to begin anew",
    Reason.EPISODE_TOKEN_EXPIRED: "episode_token has expired; begin the episode anew, without one",
    Reason.EPISODE_TOKEN_MISMATCH: "episode_token belongs to another policy, episode or step; expected the "
    "one of the last answer of this episode",
}


_NO_MATTER_WHAT = frozenset(
    {
        Reason.MASK_ALL_FALSE,
        Reason.EPISODE_TOKEN_INVALID,
        Reason.EPISODE_TOKEN_EXPIRED,
        Reason.EPISODE_TOKEN_MISMATCH,
    }
)
"""Rows fail for these whatever the fallback."""


def explain_failures(work: Work) -> list[RowError]:
    """One error per row that has no action."""
    return [_row_error(work, row) for row in np.flatnonzero(work.failed).tolist()]


def _row_error(work: Work, row: int) -> RowError:
    reason = REASONS[work.reasons[row]]
    cause = reason if work.causes is None else REASONS[work.causes[row]]
    message = (
        _by_confidence(work, row, cause)
        or _by_constraint(work, row, cause)
        or _MESSAGES.get(cause)
        or _by_guard(work, row, cause)
    )
    if reason is Reason.NO_FEASIBLE_ACTION:
        return RowError(row, reason, f"{message}; nothing that the fallback offers is allowed here")
    if not work.lane.safeguards.fallback.names and cause not in _NO_MATTER_WHAT:
        message += "; the deployment declares no fallback"
    return RowError(row, reason, message, _retryable(cause))


def _by_confidence(work: Work, row: int, cause: Reason) -> str:
    """How sure the policy is, and how sure it should be."""
    confidence = work.lane.safeguards.confidence
    if cause is not Reason.LOW_CONFIDENCE or confidence is None or work.outputs is None:
        return ""
    return confidence.explain(row, work.outputs)


def _by_constraint(work: Work, row: int, cause: Reason) -> str:
    """Which constraint, and by how much."""
    constraints = work.lane.safeguards.constraints
    if cause is not Reason.CONSTRAINT_VIOLATED or work.violated is None or constraints is None:
        return ""
    name = constraints.names[int(work.violated[row])]
    return f"the policy's action would violate the constraint {name!r}, and cannot be changed to keep all"


def _by_guard(work: Work, row: int, cause: Reason) -> str:
    return work.lane.safeguards.guard.explain(
        row,
        work.columns.observations,
        work.features,
        work.memory,
        ages_s(work.columns, work.now_s),
        reason=cause,
    )


def _retryable(cause: Reason) -> bool:
    return cause in {Reason.MODEL_ERROR, Reason.DEADLINE_TOO_NEAR, Reason.OVERLOAD, Reason.BREAKER_OPEN}
