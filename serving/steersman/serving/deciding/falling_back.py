"""Who answers instead of the policy: pinned actions, the fallback chain, the declared safe action."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from steersman.safety.columns import Rows
from steersman.safety.masks import permits
from steersman.serving.deciding.work import Work
from steersman.serving.decision import REASON_CODE, REASONS, SOURCE_CODE, Intervention, Reason, Source

Array = NDArray[Any]


def permitted(work: Work, actions: Array, rows: NDArray[np.intp]) -> Rows:
    """Which of these actions [n, *shape], for rows [n] of the batch, mask and constraints allow."""
    mask = work.columns.action_mask
    allowed = permits(None if mask is None else mask[rows], actions, work.lane.contract.action)
    return allowed if work.bound is None else allowed & work.bound.take(rows).permits(actions)


def pin(work: Work) -> None:
    """Actions that people pinned. They outrank guard and policy, but neither masks nor constraints."""
    orders = work.orders
    if orders is None or orders.actions is None:
        return
    wanted = np.flatnonzero(orders.pinned & ~work.failed)
    if not len(wanted):
        return
    work.edit()
    actions = orders.actions[wanted]
    allowed = permitted(work, actions, wanted)
    pinned, refused = wanted[allowed], wanted[~allowed]
    work.actions = work.actions.copy()
    work.actions[pinned] = actions[allowed]
    work.sources[pinned] = SOURCE_CODE[Source.OVERRIDE]
    work.reasons[wanted] = REASON_CODE[Reason.OVERRIDE_PINNED]
    work.unanswered[pinned], work.unanswered[refused] = False, True
    for column in (work.violated, work.shielded_by):
        if column is not None:
            column[pinned] = -1  # what was done to the policy's action left no trace
    for row in pinned.tolist():
        _note(work, row, "override", orders.ids[orders.by[row]])


def fall_back(work: Work) -> None:
    """The one place where a fallback answers what the policy may not."""
    if not work.refused:
        return
    rows = np.flatnonzero(work.unanswered)
    work.actions = work.actions.copy()
    work.actions[rows] = 0
    work.sources[rows] = SOURCE_CODE[Source.NONE]
    asked = rows[~work.failed[rows]]
    if len(asked):
        _ask_chain(work, asked)


def _ask_chain(work: Work, asked: NDArray[np.intp]) -> None:
    features = None if work.features is None else work.features[asked]
    mask = None if work.columns.action_mask is None else work.columns.action_mask[asked]
    answer = work.lane.safeguards.fallback.answer(
        len(asked),
        features=features,
        mask=mask,
        allowed=None if work.bound is None else work.bound.take(asked),
        observations={name: array[asked] for name, array in work.columns.observations.items()},
        fit=None if work.guarded is None else ~work.guarded[asked],
    )
    answered = asked[answer.answered]
    work.actions[answered] = answer.actions[answer.answered]
    work.sources[answered] = SOURCE_CODE[Source.FALLBACK]
    if answer.names:
        work.members = np.full(work.columns.rows, -1, np.int8)
        work.members[asked] = answer.members
    members = answer.members[answer.answered].tolist()
    for row, member in zip(answered.tolist(), members, strict=True):
        _note(work, row, "fallback", answer.names[member])
    _give_up(work, asked[~answer.answered])


def _give_up(work: Work, rows: NDArray[np.intp]) -> None:
    """Rows without an answer get the safe action, or fail. An empty chain leaves why it was asked."""
    safe = work.lane.safeguards.safe_action
    if safe is not None:
        work.actions[rows] = safe
        work.sources[rows] = SOURCE_CODE[Source.SAFE_ACTION]
        for row in rows.tolist():
            _note(work, row, "safe_action", "safe_action")
        return
    work.failed[rows] = True
    if work.lane.safeguards.fallback.names:
        work.causes = work.reasons.copy()
        work.reasons[rows] = REASON_CODE[Reason.NO_FEASIBLE_ACTION]


_TOLD = frozenset(
    {
        Reason.ACTION_MASKED,
        Reason.CONSTRAINT_VIOLATED,
        Reason.LOW_CONFIDENCE,
        Reason.LATCHED,
        Reason.OVERRIDE_PINNED,
    }
)
"""Reasons for which the model had been asked and its answer is a number, so that callers are told it."""


def _note(work: Work, row: int, layer: str, name: str) -> None:
    reason = REASONS[work.reasons[row]]
    work.interventions[:] = [item for item in work.interventions if item.row != row]
    work.interventions.append(
        Intervention(
            row=row,
            layer=layer,
            name=name,
            reason=reason,
            before=_proposed(work, row) if reason in _TOLD else None,
            after=work.actions[row].copy(),
        )
    )


def _proposed(work: Work, row: int) -> Array | None:
    """What the policy wanted of a row that it saw, if that is an action at all."""
    if work.proposed is None or (work.shown is not None and not work.shown[row]):
        return None
    wanted: Array = work.proposed[row]
    return wanted.copy() if np.isfinite(wanted).all() else None
