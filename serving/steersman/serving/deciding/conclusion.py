"""What becomes of rows that have their actions: decisions with evidence, the state after, and counts."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from steersman.bundle.specs import BoxAction, bounds
from steersman.monitoring.recorder import Rows
from steersman.serving.deciding.batch import Columns
from steersman.serving.deciding.explain import explain_failures
from steersman.serving.deciding.recurrent import pack_state
from steersman.serving.deciding.work import Work, column
from steersman.serving.decision import SOURCE_CODE, Decisions, Source

_NO_REASON = np.int8(0)
_EXPLORATION = SOURCE_CODE[Source.EXPLORATION]
_FALLEN = [SOURCE_CODE[source] for source in (Source.FALLBACK, Source.SAFE_ACTION)]


def conclude(work: Work, evidence: frozenset[str], ids: NDArray[np.uint8]) -> Decisions:
    """The decisions of rows that have their actions, with the evidence asked for."""
    rows = work.columns.rows
    log_probs = _evidence(work, "log_prob")
    decisions = Decisions(
        actions=work.actions,
        sources=work.sources,
        reasons=_told_reasons(work),
        versions=column(rows, work.lane.version, "int64"),
        lanes=[work.lane.lane] * rows,
        decision_ids=ids,
        log_probs=log_probs,
        propensities=_propensities(work, log_probs),
        values=_evidence(work, "value") if "value" in evidence else None,
        entropies=_evidence(work, "entropy") if "entropy" in evidence else None,
        distribution=_distribution(work) if "distribution" in evidence else None,
    )
    if work.interventions:
        decisions.interventions = sorted(work.interventions, key=lambda change: change.row)
    if not work.clean and np.count_nonzero(work.failed):
        decisions.errors = explain_failures(work)
    return decisions


def _told_reasons(work: Work) -> NDArray[np.int8]:
    """Reasons as callers get them: where the policy answered, what became of the episode."""
    if work.columns.episodes is None:
        return work.reasons
    told = np.array([row.reason for row in work.columns.episodes], np.int8)
    return np.where(work.reasons == 0, told, work.reasons)


def _evidence(work: Work, name: str) -> NDArray[np.float32]:
    """[N] of an output; NaN where there is none and where the policy did not answer."""
    if work.outputs is None or name not in work.outputs:
        return column(work.columns.rows, np.nan, "float32")
    output = work.outputs[name].astype(np.float32, copy=False)
    return np.where(work.unanswered, np.float32(np.nan), output) if work.refused else output


def _distribution(work: Work) -> NDArray[np.float32] | None:
    if work.outputs is None or "distribution" not in work.outputs:
        return None
    distribution = work.outputs["distribution"].copy()
    distribution[work.unanswered] = np.nan
    return distribution


def _propensities(work: Work, log_probs: NDArray[np.float32]) -> NDArray[np.float64]:
    """Probability (density for Box) of the action, routing included; NaN for greedy and clipped ones."""
    if work.mode == "greedy":
        return column(work.columns.rows, np.nan, "float64")
    with np.errstate(over="ignore"):
        propensities = _shares(work) * np.exp(log_probs.astype(np.float64))
    if not work.clean:
        propensities[work.sources != _EXPLORATION] = np.nan
    spec = work.lane.contract.action
    if isinstance(spec, BoxAction):
        low, high = bounds(spec)
        clipped = ((work.actions <= low) | (work.actions >= high)).reshape(work.columns.rows, -1).any(axis=1)
        propensities[clipped] = np.nan
    return propensities


def _shares(work: Work) -> NDArray[np.float64] | float:
    """Probability with which each row came to this lane: 1 where it did not depend on its episode."""
    episodes = work.columns.episodes
    return 1.0 if episodes is None else np.array([row.share for row in episodes])


def next_state(work: Work) -> NDArray[np.uint8] | None:
    """[N, bytes]: the recurrent state after this step; what the policy did not see leaves it as it was.

    So does what left it without a number: the episode could never recover.
    """
    before = work.state
    if before is None:
        return None
    if work.outputs is None:
        return pack_state(work.lane.contract, before)
    after = {name: work.outputs[f"next_state/{name}"] for name in before}
    keep = column(work.columns.rows, 0, "bool") if work.shown is None else ~work.shown
    for new in after.values():
        if np.count_nonzero(finite := np.isfinite(new)) < new.size:
            keep = keep | ~finite.reshape(len(new), -1).all(axis=1)
    if np.count_nonzero(keep):
        after = {
            name: np.where(keep.reshape(-1, *(1,) * (new.ndim - 1)), before[name], new)
            for name, new in after.items()
        }
    return pack_state(work.lane.contract, after)


def record(work: Work, kept: NDArray[np.bool_] | None = None) -> None:
    """Counts the rows in the lane's block; who is not kept was answered by somebody else meanwhile."""
    if kept is not None and not kept.any():
        return
    rows = work.columns.rows
    columns: dict[str, Any] = {
        "sources": work.sources,
        "features": _features(work),
        "actions": work.actions,
        "starts": work.columns.starts,
        "assigned": None if work.lane.role == "shadow" else _assigned(work.columns),
    }
    if work.refused:
        fallen = np.isin(work.sources, _FALLEN)
        columns["fallback_reasons"] = np.where(fallen, work.reasons, _NO_REASON)
        columns["error_reasons"] = np.where(work.failed, work.reasons, _NO_REASON)
        columns["answered"] = ~work.failed
    columns |= _constrained(work)
    if kept is not None:
        columns = {name: _kept(name, column, kept) for name, column in columns.items()}
        rows = int(np.count_nonzero(kept))
    recorder = work.lane.recorder
    assumed = _assumed(work, kept)
    recorder.record(Rows(mode=work.mode, assumed=assumed, **columns))
    recorder.record_latency("infer", work.infer_s, rows)
    recorder.record_latency("protect", work.protect_s, rows)


def _constrained(work: Work) -> dict[str, Any]:
    """What constraints and chain did: margins of what the policy wanted, whom they concern."""
    margins = None
    if work.bound is not None and work.proposed is not None:
        margins = work.bound.margins(work.proposed)
        if not work.clean:
            asked = ~work.unanswered if work.violated is None else ~work.unanswered | (work.violated >= 0)
            if work.shown is not None:
                asked &= work.shown
            margins[:, ~asked] = np.nan
    return {
        "margins": margins,
        "violated": work.violated,
        "shielded_by": work.shielded_by,
        "members": work.members,
    }


def _assumed(work: Work, kept: NDArray[np.bool_] | None) -> int:
    """Rows that constraints judged without knowing what was before."""
    if work.bound is None:
        return 0
    return work.bound.assumed if kept is None else work.bound.take(kept).assumed


def _kept(name: str, column: Any, kept: NDArray[np.bool_]) -> Any:
    if column is None:
        return None
    return column[:, kept] if name == "margins" else column[kept]


def _features(work: Work) -> NDArray[np.float64] | NDArray[np.float32]:
    """[N, F] as it is binned: the observation itself where it is one of float32, which is binned faster."""
    if work.features is None:
        return np.empty((work.columns.rows, 0))
    raw = next(iter(work.columns.observations.values()))
    is_all = raw.dtype == np.float32 and len(work.columns.observations) == 1
    return raw.reshape(work.features.shape) if is_all else work.features


def _assigned(columns: Columns) -> NDArray[np.int8]:
    if columns.episodes is None:
        return column(columns.rows, columns.assigned, "int8")
    return np.array([row.by for row in columns.episodes], np.int8)
