"""What happens to a batch of rows: guard, infer, protect, fall back, record. Each step once for all rows.

An action that the mask forbids cannot leave, whichever model or fallback made it; what the policy may not
answer is answered by the fallback chain, in `_fall_back` and nowhere else; what nothing may answer is a row
error.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from time import perf_counter_ns
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steersman.bundle.features import feature_matrix
from steersman.bundle.session import usual_outputs
from steersman.bundle.specs import ActionSpec, BoxAction, Mode, bounds
from steersman.monitoring.recorder import Rows
from steersman.safety.guard_settings import GUARD_REASONS
from steersman.safety.masks import all_false_segments, permits
from steersman.serving.batch import Columns
from steersman.serving.decision import REASON_CODE, SOURCE_CODE, Decisions, Reason, Source
from steersman.serving.explain import explain_failures, explain_fallbacks
from steersman.serving.noise import draw
from steersman.serving.runtime import LaneRuntime, zero_actions

Array = NDArray[Any]
log = logging.getLogger(__name__)

_GUARD_CODES = np.array([REASON_CODE[Reason(reason)] for reason in GUARD_REASONS], np.int8)
_MODEL_SOURCE: Mapping[Mode, int] = {
    "greedy": SOURCE_CODE[Source.POLICY],
    "sampled": SOURCE_CODE[Source.EXPLORATION],
}
_EVIDENCE_OUTPUTS = frozenset({"value", "entropy"})
_NO_REASON = np.int8(0)
_NO_ACTIONS = np.empty(0)


@dataclass(slots=True)
class Work:
    """The rows of a batch on their way. N rows.

    Attributes:
        lane: Where they are decided.
        mode: Greedy or sampled.
        columns: What came in.
        features: [N, F] float64, or None when there are too many to name.
        actions: [N, *action shape].
        sources: [N] codes of `Source`.
        reasons: [N] codes of `Reason`.
        unanswered: [N], rows that the policy may not answer.
        failed: [N], rows that shall not be answered at all.
        wanted: [N, *action shape], what the model wanted; None where no row was refused.
        causes: [N] codes of `Reason`, why the fallback was asked; None where that is `reasons`.
        outputs: The model's outputs by name; None where the model could not be run.
    """

    lane: LaneRuntime
    mode: Mode
    columns: Columns
    features: NDArray[np.float64] | None
    actions: Array
    sources: NDArray[np.int8]
    reasons: NDArray[np.int8]
    unanswered: NDArray[np.bool_]
    failed: NDArray[np.bool_]
    wanted: Array | None = None
    causes: NDArray[np.int8] | None = None
    outputs: Mapping[str, Array] | None = None

    def refuse(self, rows: NDArray[np.bool_], reason: Reason) -> None:
        """Marks rows as not to be answered by the policy; the first reason stays."""
        self.reasons[rows & (self.reasons == 0)] = REASON_CODE[reason]
        self.unanswered |= rows


def decide_group(
    lane: LaneRuntime,
    columns: Columns,
    *,
    mode: Mode,
    evidence: frozenset[str],
    ids: NDArray[np.uint8],
    salt: bytes,
) -> Decisions:
    """Decides a batch of rows of one lane.

    Args:
        lane: The lane.
        columns: The rows, checked against the lane's contract.
        mode: Greedy or sampled.
        evidence: Outputs wanted beside the action.
        ids: [N, 16] decision ids.
        salt: Secret that noise is made from.
    """
    work = _begin(lane, mode, columns)
    _guard(work)
    before_infer = perf_counter_ns()
    _infer(work, evidence, ids, salt)
    after_infer = perf_counter_ns()
    _protect(work)
    answered_by = _fall_back(work)
    decisions = _conclude(work, evidence, ids, answered_by)
    _record(work)
    lane.recorder.record_latency("infer", (after_infer - before_infer) * 1e-9, columns.rows)
    lane.recorder.record_latency("protect", (perf_counter_ns() - after_infer) * 1e-9, columns.rows)
    return decisions


def _begin(lane: LaneRuntime, mode: Mode, columns: Columns) -> Work:
    rows = columns.rows
    return Work(
        lane=lane,
        mode=mode,
        columns=columns,
        features=feature_matrix(columns.observations, lane.contract) if lane.named_features else None,
        actions=_NO_ACTIONS,
        sources=np.full(rows, _MODEL_SOURCE[mode], np.int8),
        reasons=np.zeros(rows, np.int8),
        unanswered=np.zeros(rows, np.bool_),
        failed=np.zeros(rows, np.bool_),
    )


def _guard(work: Work) -> None:
    """Judges observations and masks. A mask that forbids everything leaves nothing to answer with."""
    verdicts = work.lane.guard.check(work.columns.observations, work.features)
    if not verdicts.clean:
        work.reasons[:] = np.where(verdicts.passed, 0, _GUARD_CODES[verdicts.codes])
        work.unanswered |= ~verdicts.passed
        work.failed |= verdicts.rejected
    if work.columns.action_mask is not None:
        closed = all_false_segments(work.columns.action_mask, work.lane.contract.action.mask_segments)
        if np.count_nonzero(closed):
            work.reasons[closed] = REASON_CODE[Reason.MASK_ALL_FALSE]
            work.unanswered |= closed
            work.failed |= closed


def _infer(work: Work, evidence: frozenset[str], ids: NDArray[np.uint8], salt: bytes) -> None:
    """Asks the model. Rows that it shall not answer are replaced by a benign one first."""
    names = _outputs(work.lane.contract.outputs, work.mode, evidence)
    try:
        outputs = work.lane.loaded.session.run(names, _feeds(work, ids, salt))
    except Exception:  # whatever the model does, every row must still get its fallback
        log.exception("the model failed", extra={"policy": work.lane.loaded.manifest.policy})
        work.actions = zero_actions(work.lane.contract, work.columns.rows)
        work.refuse(np.ones(work.columns.rows, np.bool_), Reason.MODEL_ERROR)
        return
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
    if np.count_nonzero(work.unanswered):
        observations = {name: _replaced(work, name, array) for name, array in observations.items()}
        mask = None if mask is None else mask | work.unanswered[:, None]
    return work.lane.loaded.session.feeds(observations, mask, noise)


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
    if not np.count_nonzero(work.unanswered):
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


def _conclude(
    work: Work, evidence: frozenset[str], ids: NDArray[np.uint8], answered_by: Mapping[int, str]
) -> Decisions:
    rows = work.columns.rows
    log_probs = _evidence(work, "log_prob")
    decisions = Decisions(
        actions=work.actions,
        sources=work.sources,
        reasons=work.reasons,
        versions=np.full(rows, work.lane.version, np.int64),
        lanes=[work.lane.lane] * rows,
        decision_ids=ids,
        log_probs=log_probs,
        propensities=_propensities(work, log_probs),
        values=_evidence(work, "value") if "value" in evidence else None,
        entropies=_evidence(work, "entropy") if "entropy" in evidence else None,
        distribution=_distribution(work) if "distribution" in evidence else None,
    )
    if answered_by:
        decisions.interventions = explain_fallbacks(work, answered_by)
    if np.count_nonzero(work.failed):
        decisions.errors = explain_failures(work)
    return decisions


def _evidence(work: Work, name: str) -> NDArray[np.float32]:
    """[N] of an output; NaN where there is none and where the policy did not answer."""
    missing = work.outputs is None or name not in work.outputs
    column = np.full(work.columns.rows, np.nan, np.float32)
    if not missing:
        kept = ~work.unanswered
        column[kept] = work.outputs[name][kept]  # type: ignore[index]  # not missing
    return column


def _distribution(work: Work) -> NDArray[np.float32] | None:
    if work.outputs is None or "distribution" not in work.outputs:
        return None
    distribution = work.outputs["distribution"].copy()
    distribution[work.unanswered] = np.nan
    return distribution


def _propensities(work: Work, log_probs: NDArray[np.float32]) -> NDArray[np.float64]:
    """Probability (density for Box) of the action, routing included; NaN for greedy and clipped ones."""
    if work.mode == "greedy":
        return log_probs.astype(np.float64)
    propensities = work.lane.share * np.exp(log_probs.astype(np.float64))
    spec = work.lane.contract.action
    if isinstance(spec, BoxAction):
        low, high = bounds(spec)
        clipped = ((work.actions <= low) | (work.actions >= high)).reshape(work.columns.rows, -1).any(axis=1)
        propensities[clipped] = np.nan
    return propensities


def _record(work: Work) -> None:
    features = np.empty((work.columns.rows, 0)) if work.features is None else work.features
    reasons: dict[str, NDArray[np.int8]] = {}
    answered = None
    if np.count_nonzero(work.unanswered):
        fallen = work.sources == SOURCE_CODE[Source.FALLBACK]
        reasons = {
            "fallback_reasons": np.where(fallen, work.reasons, _NO_REASON),
            "error_reasons": np.where(work.failed, work.reasons, _NO_REASON),
        }
        answered = ~work.failed
    work.lane.recorder.record(
        Rows(
            mode=work.mode,
            sources=work.sources,
            features=features,
            actions=work.actions,
            answered=answered,
            starts=work.columns.starts,
            **reasons,
        )
    )
