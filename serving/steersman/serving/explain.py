"""Words for the rows that the policy did not answer. Only such rows come here, one by one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from steersman.serving.decision import REASONS, Intervention, Reason, RowError

if TYPE_CHECKING:
    from steersman.serving.pipeline import Work

_LAYERS = {
    Reason.OBSERVATION_NON_FINITE: "guard",
    Reason.OBSERVATION_OUT_OF_BOUNDS: "guard",
    Reason.OBSERVATION_OUT_OF_TRAINING_RANGE: "guard",
    Reason.MODEL_ERROR: "model",
    Reason.MODEL_NON_FINITE: "model",
    Reason.ACTION_MASKED: "mask",
}
_MODEL_MESSAGES = {
    Reason.MODEL_ERROR: "the model could not be run",
    Reason.MODEL_NON_FINITE: "the model's output is not finite",
    Reason.ACTION_MASKED: "the model's action is not allowed by the mask",
    Reason.MASK_ALL_FALSE: "action_mask forbids every choice of a segment; expected at least one that is allowed",
}


def explain_fallbacks(work: Work, answered_by: Mapping[int, str]) -> list[Intervention]:
    """One intervention per row that the fallback chain answered; `answered_by` maps row to member."""
    return [
        Intervention(
            row=row,
            layer=_LAYERS[REASONS[work.reasons[row]]],
            name=member,
            reason=REASONS[work.reasons[row]],
            before=None,
            after=work.actions[row].copy(),
        )
        for row, member in sorted(answered_by.items())
    ]


def explain_failures(work: Work) -> list[RowError]:
    """One error per row that has no action."""
    infeasible = frozenset(work.no_feasible.tolist())
    return [
        _row_error(work, row, infeasible=row in infeasible) for row in np.flatnonzero(work.failed).tolist()
    ]


def _row_error(work: Work, row: int, *, infeasible: bool) -> RowError:
    cause = REASONS[work.reasons[row]]
    message = _MODEL_MESSAGES.get(cause) or work.lane.guard.explain(
        row, work.columns.observations, work.features
    )
    if not infeasible:
        return RowError(row, cause, message)
    if not work.lane.fallback.names:
        return RowError(row, cause, f"{message}; the deployment declares no fallback", _retryable(cause))
    told = f"{message}; nothing that the fallback offers is allowed here"
    return RowError(row, Reason.NO_FEASIBLE_ACTION, told)


def _retryable(cause: Reason) -> bool:
    return cause is Reason.MODEL_ERROR
