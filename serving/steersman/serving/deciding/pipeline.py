"""What happens to a batch of rows: guard, infer, protect, fall back. Each step once for all rows.

An action that the mask forbids cannot leave, whichever model or fallback made it; what the policy may not
answer is answered by the fallback chain, in `_fall_back` and nowhere else; what nothing may answer is a row
error.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from time import perf_counter_ns
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steersman.bundle.features import feature_matrix
from steersman.bundle.session import usual_outputs
from steersman.bundle.specs import ActionSpec, BoxAction, Mode
from steersman.safety.guard_settings import GUARD_REASONS
from steersman.safety.masks import all_false_segments, permits
from steersman.serving.deciding.batch import Columns, EpisodeRow
from steersman.serving.deciding.noise import draw
from steersman.serving.deciding.recurrent import unpack_state
from steersman.serving.deciding.runtime import LaneRuntime, zero_actions
from steersman.serving.deciding.work import Work, column
from steersman.serving.decision import REASON_CODE, SOURCE_CODE, Reason, Source

Array = NDArray[Any]
log = logging.getLogger(__name__)

_GUARD_CODES = np.array([REASON_CODE[Reason(reason)] for reason in GUARD_REASONS], np.int8)
_MODEL_SOURCE: Mapping[Mode, int] = {
    "greedy": SOURCE_CODE[Source.POLICY],
    "sampled": SOURCE_CODE[Source.EXPLORATION],
}
_EVIDENCE_OUTPUTS = frozenset({"value", "entropy"})
_NO_ACTIONS = np.empty(0)


def log_failure(lane: LaneRuntime, error: Exception) -> None:
    """Logs that a lane's model failed."""
    log.error("the model failed", exc_info=error, extra={"policy": lane.loaded.manifest.policy})


def decide_rows(
    lane: LaneRuntime,
    columns: Columns,
    *,
    mode: Mode,
    evidence: frozenset[str],
    ids: NDArray[np.uint8],
    salt: bytes,
    refused: Reason = Reason.NONE,
    failed: Callable[[LaneRuntime, Exception], None] = log_failure,
) -> Work:
    """Takes a batch of rows of one lane to their actions. Nothing is counted yet.

    Args:
        lane: The lane.
        columns: The rows, checked against the lane's contract.
        mode: Greedy or sampled.
        evidence: Outputs wanted beside the action.
        ids: [N, 16] decision ids.
        salt: Secret that noise is made from.
        refused: Why the policy shall not answer; NONE where it shall.
        failed: Told of what the model raised.
    """
    work = _begin(lane, mode, columns)
    if refused is not Reason.NONE:
        work.refuse(np.ones(columns.rows, np.bool_), refused)
    _guard(work)
    before_infer = perf_counter_ns()
    try:
        _infer(work, evidence, ids, salt)
    except Exception as error:  # noqa: BLE001  whatever the model does, every row must still get its fallback
        failed(lane, error)
        work.actions = zero_actions(lane.contract, columns.rows)
        work.refuse(np.ones(columns.rows, np.bool_), Reason.MODEL_ERROR)
    after_infer = perf_counter_ns()
    _protect(work)
    work.answered_by = _fall_back(work)
    work.infer_s = (after_infer - before_infer) * 1e-9
    work.protect_s = (perf_counter_ns() - after_infer) * 1e-9
    return work


def _begin(lane: LaneRuntime, mode: Mode, columns: Columns) -> Work:
    rows = columns.rows
    work = Work(
        lane=lane,
        mode=mode,
        columns=columns,
        features=feature_matrix(columns.observations, lane.contract) if lane.named_features else None,
        actions=_NO_ACTIONS,
        sources=column(rows, _MODEL_SOURCE[mode], "int8"),
        reasons=column(rows, 0, "int8"),
        unanswered=column(rows, 0, "bool"),
        failed=column(rows, 0, "bool"),
    )
    if columns.episodes is not None:
        _take_episodes(work, columns.episodes)
    return work


def _take_episodes(work: Work, episodes: Sequence[EpisodeRow]) -> None:
    """Recurrent state, and the rows that fail for what is wrong with their tokens."""
    if work.lane.contract.state:
        work.state = unpack_state(work.lane.contract, [row.state for row in episodes])
    if any(row.failed for row in episodes):
        work.edit()
        failed = np.array([row.failed for row in episodes])
        work.reasons[failed] = [row.reason for row in episodes if row.failed]
        work.failed |= failed
        work.unanswered |= failed


def _guard(work: Work) -> None:
    """Judges observations and masks. A mask that forbids everything leaves nothing to answer with."""
    known = work.failed if work.clean else work.failed.copy()  # rows whose tokens are bad keep that reason
    verdicts = work.lane.guard.check(work.columns.observations, work.features)
    if not verdicts.clean:
        work.edit()
        caught = ~verdicts.passed & ~known
        work.reasons[caught] = _GUARD_CODES[verdicts.codes[caught]]
        work.unanswered |= ~verdicts.passed
        work.failed |= verdicts.rejected
    if work.columns.action_mask is not None:
        closed = all_false_segments(work.columns.action_mask, work.lane.contract.action.mask_segments)
        if np.count_nonzero(closed):
            work.edit()
            work.reasons[closed & ~known] = REASON_CODE[Reason.MASK_ALL_FALSE]
            work.unanswered |= closed
            work.failed |= closed


def _infer(work: Work, evidence: frozenset[str], ids: NDArray[np.uint8], salt: bytes) -> None:
    """Asks the model. Rows that it shall not answer are replaced by a benign one first."""
    if work.refused == work.columns.rows:
        work.actions = zero_actions(work.lane.contract, work.columns.rows)
        return
    names = _outputs(work.lane.contract.outputs, work.mode, evidence)
    outputs = work.lane.loaded.session.run(names, _feeds(work, ids, salt))
    work.outputs = dict(zip(names, outputs, strict=True))
    work.actions = outputs[0]


@lru_cache(maxsize=1024)
def _outputs(offered: tuple[str, ...], mode: Mode, evidence: frozenset[str]) -> tuple[str, ...]:
    """Outputs to fetch, the action first. Without evidence nothing else is computed."""
    beside = (name for name in sorted(evidence & _EVIDENCE_OUTPUTS) if name in offered)
    return (*usual_outputs(offered, mode), *beside)


def _feeds(work: Work, ids: NDArray[np.uint8], salt: bytes) -> dict[str, Array]:
    spec = work.lane.contract.noise
    noise = draw(spec, ids, salt) if spec is not None and work.mode == "sampled" else None
    observations, mask = work.columns.observations, work.columns.action_mask
    if work.refused:
        observations = {name: _replaced(work, name, array) for name, array in observations.items()}
        mask = None if mask is None else mask | work.unanswered[:, None]
    return work.lane.loaded.session.feeds(observations, mask, noise, work.state)


def _replaced(work: Work, name: str, array: Array) -> Array:
    copy = array.copy()
    copy[work.unanswered] = work.lane.loaded.benign[name]
    return copy


def _protect(work: Work) -> None:
    """Refuses answers of the model that are not finite or that the mask forbids."""
    if work.outputs is None:
        return
    sound = _sound(work.outputs.get("distribution"), work.actions, work.lane.contract.action)
    if np.count_nonzero(sound) < sound.size:
        garbage = ~sound.reshape(len(sound), -1).all(axis=1)
        work.refuse(garbage & ~work.unanswered, Reason.MODEL_NON_FINITE)
    permitted = permits(work.columns.action_mask, work.actions, work.lane.contract.action)
    if np.count_nonzero(permitted) < len(permitted):
        work.refuse(~permitted & ~work.unanswered, Reason.ACTION_MASKED)


def _sound(distribution: Array | None, actions: Array, spec: ActionSpec) -> NDArray[np.bool_]:
    """Which numbers are usable: finite for continuous actions; a masked choice may have minus infinity.

    Where the policy has no distribution its actions are looked at: a choice between NaN is one below the
    first.
    """
    if isinstance(spec, BoxAction):
        return np.isfinite(actions if distribution is None else distribution)
    return actions >= getattr(spec, "start", 0) if distribution is None else ~np.isnan(distribution)


def _fall_back(work: Work) -> Mapping[int, str]:
    """The one place where a fallback answers. Returns which member of the chain answered which row."""
    if not work.refused:
        return {}
    rows = np.flatnonzero(work.unanswered)
    work.wanted = work.actions
    work.actions = work.actions.copy()
    work.actions[rows] = 0
    work.sources[rows] = SOURCE_CODE[Source.NONE]
    asked = rows[~work.failed[rows]]
    features = None if work.features is None else work.features[asked]
    mask = None if work.columns.action_mask is None else work.columns.action_mask[asked]
    answer = work.lane.fallback.answer(len(asked), features=features, mask=mask)
    answered = asked[answer.answered]
    work.actions[answered] = answer.actions[answer.answered]
    work.sources[answered] = SOURCE_CODE[Source.FALLBACK]
    _give_up(work, asked[~answer.answered])
    members = answer.members[answer.answered].tolist()
    return {row: answer.names[member] for row, member in zip(answered.tolist(), members, strict=True)}


def _give_up(work: Work, rows: NDArray[np.intp]) -> None:
    """Rows that nothing may answer. An empty chain leaves the reason why it was asked."""
    work.failed[rows] = True
    if work.lane.fallback.names:
        work.causes = work.reasons.copy()
        work.reasons[rows] = REASON_CODE[Reason.NO_FEASIBLE_ACTION]
