"""Decisions as callers get them once a check has spoken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from steersman.client.decision import (
    Decision,
    Decisions,
    Intervention,
    RowError,
    Source,
    action_of_row,
)
from steersman.client.errors import ClientError
from steersman.client.refusals import LocalAnswers, Refusal, unsafe_row

CHECK = "local_check"
"""Layer of the client's own interventions."""
NO_ID = bytes(16)


def corrected(decision: Decision, refusal: Refusal) -> Decision:
    """The decision with the action that takes the refused one's place.

    Raises:
        UnsafeActionError: There is none.
    """
    if refusal.action is None:
        raise unsafe_row(refusal, decision.action, decision.decision_id).as_exception()
    change = _change(refusal, np.asarray(decision.action))
    return replace(
        decision,
        action=action_of_row(refusal.action[None], 0),
        source=refusal.source,
        reason=refusal.reason,
        log_prob=None,
        propensity=None,
        interventions=(*decision.interventions, change),
    )


def corrected_rows(decisions: Decisions, refusals: Sequence[Refusal]) -> Decisions:
    """The decisions, in which refused rows have another action, or an error."""
    rows = [refusal.row for refusal in refusals]
    actions, log_probs = decisions.actions.copy(), decisions.log_probs.copy()
    propensities = decisions.propensities.copy()
    log_probs[rows], propensities[rows] = np.nan, np.nan
    sources, reasons = list(decisions.sources), list(decisions.reasons)
    errors, changes = list(decisions.errors), list(decisions.interventions)
    for refusal in refusals:
        row = refusal.row
        sources[row], reasons[row] = refusal.source, refusal.reason
        if refusal.action is None:
            refused = action_of_row(decisions.actions.copy(), row)
            errors.append(unsafe_row(refusal, refused, decisions.decision_ids[row]))
            actions[row] = 0
        else:
            changes.append(_change(refusal, decisions.actions[row, ...]))
            actions[row] = refusal.action
    return replace(
        decisions,
        actions=actions,
        sources=tuple(sources),
        reasons=tuple(reasons),
        log_probs=log_probs,
        propensities=propensities,
        errors=tuple(sorted(errors, key=lambda error: error.row)),
        interventions=tuple(sorted(changes, key=lambda change: change.row)),
    )


def _change(refusal: Refusal, before: np.ndarray) -> Intervention:
    return Intervention(
        row=refusal.row,
        layer=CHECK,
        name=refusal.constraint,
        reason=refusal.reason,
        before=before,
        after=refusal.action,
        margin=refusal.margin,
    )


def decided_alone(answers: LocalAnswers, why: str, error: ClientError) -> Decisions:
    """What a check answered by itself, as decisions of version 0, with no ids: no server knows of them.

    Args:
        answers: What it answered.
        why: Why the server did not, lower_snake_case.
        error: The same, as it came.
    """
    rows = len(answers.sources)
    made = [row for row in range(rows) if answers.sources[row] is not Source.NONE]
    return Decisions(
        actions=answers.actions,
        sources=answers.sources,
        reasons=tuple(reason or why for reason in answers.reasons),
        versions=np.zeros(rows, np.int64),
        lanes=("",) * rows,
        decision_ids=(NO_ID,) * rows,
        log_probs=np.full(rows, np.nan, np.float32),
        propensities=np.full(rows, np.nan),
        episode_tokens=(b"",) * rows,
        errors=tuple(
            RowError(row, reason, _unanswered(reason, error), error.code, error.retryable)
            for row, reason in enumerate(answers.reasons)
            if reason
        ),
        interventions=tuple(
            Intervention(row, CHECK, answers.members[row], why, None, answers.actions[row, ...], None)
            for row in made
        ),
    )


def _unanswered(reason: str, error: ClientError) -> str:
    return f"the client's own fallback has no permitted action ({reason}), and no server answers: {error}"
