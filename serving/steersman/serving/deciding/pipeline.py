"""What happens to a batch of rows, in this order. Each step once for all rows.

Before the model (`admitting`): overrides, guard, masks, breaker. The model. After it (`protecting`): are its
answers sound, sure, allowed; latch; constraints. Then (`falling_back`): pinned actions, the fallback chain,
the safe action. An action that mask or constraints forbid cannot leave, whoever made it, but for the safe
action; what nothing may answer is a row error.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import lru_cache
from time import perf_counter_ns
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steersman.bundle.features import feature_matrix
from steersman.bundle.session import usual_outputs
from steersman.bundle.specs import Mode
from steersman.serving.deciding.admitting import ask_breaker, check_masks, guard, heed, take_episodes
from steersman.serving.deciding.batch import Columns
from steersman.serving.deciding.falling_back import fall_back, pin
from steersman.serving.deciding.noise import draw
from steersman.serving.deciding.protecting import check_outputs, hold_latched, shield
from steersman.serving.deciding.remembering import recall
from steersman.serving.deciding.runtime import LaneRuntime, zero_actions
from steersman.serving.deciding.work import Terms, Work, column
from steersman.serving.decision import SOURCE_CODE, Reason, Source

Array = NDArray[Any]
log = logging.getLogger(__name__)

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
    terms: Terms,
    failed: Callable[[LaneRuntime, Exception], None] = log_failure,
) -> Work:
    """Takes a batch of rows of one lane to their actions. Nothing is counted yet.

    Args:
        lane: The lane.
        columns: The rows, checked against the lane's contract.
        terms: How they are to be decided.
        failed: Told of what the model raised.
    """
    work = _begin(lane, columns, terms)
    if terms.refused is not Reason.NONE:
        work.refuse(np.ones(columns.rows, np.bool_), terms.refused)
    heed(work)
    guard(work)
    check_masks(work)
    ask_breaker(work)
    before_infer = perf_counter_ns()
    try:
        _infer(work, terms)
    except Exception as error:  # noqa: BLE001  whatever the model does, every row must still get its fallback
        failed(lane, error)
        work.actions = zero_actions(lane.contract, columns.rows)
        work.refuse(np.ones(columns.rows, np.bool_), Reason.MODEL_ERROR)
    after_infer = perf_counter_ns()
    check_outputs(work)
    hold_latched(work)
    shield(work)
    pin(work)
    fall_back(work)
    work.infer_s = (after_infer - before_infer) * 1e-9
    work.protect_s = (perf_counter_ns() - after_infer) * 1e-9
    return work


def _begin(lane: LaneRuntime, columns: Columns, terms: Terms) -> Work:
    rows, mode, now_s = columns.rows, terms.mode, terms.now_s
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
        memory=None if lane.apart else recall(lane, columns, now_s),
        orders=terms.orders,
        now_s=now_s,
    )
    if columns.episodes is not None:
        take_episodes(work, columns.episodes)
    return work


def _infer(work: Work, terms: Terms) -> None:
    """Asks the model. Rows that it shall not answer are replaced by a benign one first."""
    if work.refused == work.columns.rows:
        work.actions = zero_actions(work.lane.contract, work.columns.rows)
        return
    confidence = work.lane.safeguards.confidence
    wanted = terms.evidence if confidence is None else terms.evidence | confidence.outputs
    names = _outputs(work.lane.contract.outputs, work.mode, wanted)
    outputs = work.lane.loaded.session.run(names, _feeds(work, terms.ids, terms.salt))
    work.outputs = dict(zip(names, outputs, strict=True))
    work.actions = work.proposed = outputs[0]


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
        work.shown = ~work.unanswered
        observations = {name: _replaced(work, name, array) for name, array in observations.items()}
        mask = None if mask is None else mask | work.unanswered[:, None]
    return work.lane.loaded.session.feeds(observations, mask, noise, work.state)


def _replaced(work: Work, name: str, array: Array) -> Array:
    copy = array.copy()
    copy[work.unanswered] = work.lane.loaded.benign[name]
    return copy
