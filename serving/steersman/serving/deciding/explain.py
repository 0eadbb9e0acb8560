"""Words for the rows that the policy did not answer. Only such rows come here, one by one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from steersman.serving.decision import REASONS, Intervention, Reason, RowError

if TYPE_CHECKING:
    from steersman.serving.deciding.work import Work

_MESSAGES = {
    Reason.MODEL_ERROR: "the model could not be run",
    Reason.MODEL_NON_FINITE: "the model's output is not finite",
    Reason.ACTION_MASKED: "the model's action is not allowed by the mask",
    Reason.MASK_ALL_FALSE: "action_mask forbids every choice of a segment; expected one that is allowed",
    Reason.DEADLINE_TOO_NEAR: "the deadline leaves the model no time",
    Reason.OVERLOAD: "more rows wait than the server keeps waiting",
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


def explain_fallbacks(work: Work, answered_by: Mapping[int, str]) -> list[Intervention]:
    """One intervention per row that the fallback chain answered; `answered_by` maps row to member."""
    return [_fallback(work, row, member) for row, member in sorted(answered_by.items())]


def _fallback(work: Work, row: int, member: str) -> Intervention:
    """What the model wanted is only told where the model was asked and its answer is a number."""
    reason = REASONS[work.reasons[row]]
    usable = work.wanted is not None and reason is Reason.ACTION_MASKED
    return Intervention(
        row=row,
        layer="fallback",
        name=member,
        reason=reason,
        before=work.wanted[row].copy() if usable and work.wanted is not None else None,
        after=work.actions[row].copy(),
    )


def explain_failures(work: Work) -> list[RowError]:
    """One error per row that has no action."""
    return [_row_error(work, row) for row in np.flatnonzero(work.failed).tolist()]


def _row_error(work: Work, row: int) -> RowError:
    reason = REASONS[work.reasons[row]]
    cause = reason if work.causes is None else REASONS[work.causes[row]]
    message = _MESSAGES.get(cause) or work.lane.guard.explain(row, work.columns.observations, work.features)
    if reason is Reason.NO_FEASIBLE_ACTION:
        return RowError(row, reason, f"{message}; nothing that the fallback offers is allowed here")
    if not work.lane.fallback.names and cause not in _NO_MATTER_WHAT:
        message += "; the deployment declares no fallback"
    return RowError(row, reason, message, _retryable(cause))


def _retryable(cause: Reason) -> bool:
    return cause in {Reason.MODEL_ERROR, Reason.DEADLINE_TOO_NEAR, Reason.OVERLOAD}
