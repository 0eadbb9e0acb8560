"""After the model: what it may not have answered, and what is changed so that constraints are kept."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steersman.bundle.specs import ActionSpec, BoxAction
from steersman.safety.constraints import Bound
from steersman.safety.masks import permits
from steersman.serving.deciding.admitting import SAY_NOTHING
from steersman.serving.deciding.work import Work
from steersman.serving.decision import REASON_CODE, SOURCE_CODE, Intervention, Reason, Source

Array = NDArray[Any]


def check_outputs(work: Work) -> None:
    """Refuses answers of the model that are no actions, not sure enough, or that the mask forbids."""
    if work.outputs is None:
        return
    _check_actions(work, work.outputs)
    _check_confidence(work, work.outputs)


def _check_actions(work: Work, outputs: Mapping[str, Array]) -> None:
    sound = _sound(outputs.get("distribution"), work.actions, work.lane.contract.action)
    if np.count_nonzero(sound) < sound.size:
        garbage = ~sound.reshape(len(sound), -1).all(axis=1)
        work.refuse(garbage & ~work.unanswered, Reason.MODEL_NON_FINITE)
    if work.lane.limits is not None:
        within = (work.actions >= work.lane.limits[0]) & (work.actions <= work.lane.limits[1])
        if np.count_nonzero(within) < within.size:
            outside = ~within.reshape(len(within), -1).all(axis=1)
            work.refuse(outside & ~work.unanswered, Reason.ACTION_OUT_OF_SPACE)
        return
    permitted = permits(work.columns.action_mask, work.actions, work.lane.contract.action)
    if np.count_nonzero(permitted) < len(permitted):
        exists = permits(None, work.actions, work.lane.contract.action)
        work.refuse(~exists & ~work.unanswered, Reason.ACTION_OUT_OF_SPACE)
        work.refuse(~permitted & ~work.unanswered, Reason.ACTION_MASKED)


def _check_confidence(work: Work, outputs: Mapping[str, Array]) -> None:
    confidence = work.lane.safeguards.confidence
    if confidence is not None:
        low = confidence.low(outputs)
        if low is not None and np.count_nonzero(low):
            work.refuse(low & ~work.unanswered, Reason.LOW_CONFIDENCE)


def _sound(distribution: Array | None, actions: Array, spec: ActionSpec) -> NDArray[np.bool_]:
    """Which numbers are usable: finite for continuous actions; a masked choice may have minus infinity.

    Where the policy has no distribution its actions are looked at: a choice between NaN is one below the
    first.
    """
    if isinstance(spec, BoxAction):
        return np.isfinite(actions if distribution is None else distribution)
    return actions >= getattr(spec, "start", 0) if distribution is None else ~np.isnan(distribution)


def hold_latched(work: Work) -> None:
    """Episodes that lately fell back stay with their fallback until the policy has been healthy for long."""
    if work.memory is None:
        return
    if work.clean:
        work.healthy = np.ones(work.columns.rows, np.bool_)
    else:
        work.healthy = ~work.unanswered | np.isin(work.reasons, SAY_NOTHING)
        if work.guarded is not None:
            work.healthy &= ~work.guarded
    latch = work.lane.safeguards.latch
    if latch is not None:
        held = latch.holds(work.memory, work.healthy)
        if np.count_nonzero(held):
            work.refuse(held & ~work.unanswered, Reason.LATCHED)


def shield(work: Work) -> None:
    """Changes the policy's actions as little as constraints ask for; where that cannot be, refuses them."""
    constraints = work.lane.safeguards.constraints
    _ease_back(work)
    if constraints is None or work.lane.apart:
        return
    work.bound = bound = constraints.bind(work.features, work.memory, work.columns.rows)
    if work.outputs is None:
        return
    violated = bound.violated(work.actions)
    wrong = violated >= 0 if work.clean else (violated >= 0) & ~work.unanswered
    if np.count_nonzero(wrong):
        work.edit()
        work.violated = np.where(wrong, violated, -1).astype(np.int8)
        _make_permitted(work, bound, np.flatnonzero(wrong))


def _make_permitted(work: Work, bound: Bound, rows: NDArray[np.intp]) -> None:
    """Replaces the actions of rows that violate a constraint, or refuses them."""
    before = work.actions
    actions, solved = bound.shield(before, rows, work.columns.action_mask, _distribution(work))
    done = rows[solved]
    work.actions = before.copy()
    work.actions[done] = actions[solved]
    work.sources[done] = SOURCE_CODE[Source.SHIELD]
    work.reasons[rows] = REASON_CODE[Reason.CONSTRAINT_VIOLATED]  # also of those that were going over
    unsolved = np.zeros(work.columns.rows, np.bool_)
    unsolved[rows[~solved]] = True
    work.refuse(unsolved, Reason.CONSTRAINT_VIOLATED)
    if work.healthy is not None:
        work.healthy &= ~unsolved
    _note_shielded(work, bound, before, done)


def _distribution(work: Work) -> Array | None:
    return None if work.outputs is None else work.outputs.get("distribution")


def _note_shielded(work: Work, bound: Bound, before: Array, rows: NDArray[np.intp]) -> None:
    constraints = work.lane.safeguards.constraints
    if constraints is None or work.violated is None or not len(rows):
        return
    work.shielded_by = np.full(work.columns.rows, -1, np.int8)
    work.shielded_by[rows] = work.violated[rows]
    margins = bound.margins(before)
    for row in rows.tolist():
        index = int(work.violated[row])
        work.interventions.append(
            Intervention(
                row=row,
                layer="constraint",
                name=constraints.names[index],
                reason=Reason.CONSTRAINT_VIOLATED,
                before=before[row].copy(),
                after=work.actions[row].copy(),
                margin=float(margins[index, row]),
            )
        )


def _ease_back(work: Work) -> None:
    """Actions that go over to the policy's gradually. Constraints are kept after it, for they outrank it."""
    bumpless = work.lane.safeguards.bumpless
    if bumpless is None or work.memory is None or work.outputs is None or work.lane.apart:
        return
    actions, changed = bumpless.limit(work.memory, work.actions)
    if not work.clean:
        changed = changed & ~work.unanswered
    work.eased = changed
    if not np.count_nonzero(changed):
        return
    work.edit()
    before = work.actions
    work.actions = before.copy()
    work.actions[changed] = actions[changed]
    work.sources[changed] = SOURCE_CODE[Source.SHIELD]
    work.reasons[changed] = REASON_CODE[Reason.RETURNING]
    for row in np.flatnonzero(changed).tolist():
        work.interventions.append(
            Intervention(
                row=row,
                layer="return",
                name="return",
                reason=Reason.RETURNING,
                before=before[row].copy(),
                after=work.actions[row].copy(),
                margin=math.nan,
            )
        )
