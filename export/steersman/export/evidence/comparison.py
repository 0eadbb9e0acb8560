"""What quantization changed in decisions and distributions, against the fp32 graph on the same states.

The states are on-policy, with the masks and recurrent states that belong to them. A recurrent policy is
compared one step at a time from the states that fp32 had; what differences do over a whole episode is for the
return gate to say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steersman.bundle.manifest import Flips
from steersman.bundle.session import PolicySession
from steersman.bundle.specs import BoxAction, Contract, bounds
from steersman.export.evidence.distances import total_variation
from steersman.export.evidence.intervals import clustered_upper_bound
from steersman.export.policies.inputs import Inputs
from steersman.export.policies.segments import segment_margins

Array = NDArray[Any]
TIE = 1e-4
"""Two choices tie when their logits or Q-values are closer than this share of the range of all of them."""
LARGE_MOVE = 0.01
"""A continuous decision flips when an element moves by more than this share of its range."""
MOST_ROWS, LEAST_ROWS, MOST_BYTES = 1024, 32, 1024**2
"""Rows asked at once: as many as are so large together. Every session keeps the memory that its largest call
needed, and the feature maps of images need much."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """How a variant compares with fp32.

    Attributes:
        flips: Changed greedy decisions.
        max_error: Largest difference of a logit, Q-value or other distribution parameter; of an action where
            there is no distribution.
        mean_total_variation: Mean total variation distance of the action distributions; None where the policy
            has none to sample from.
    """

    flips: Flips
    max_error: float
    mean_total_variation: float | None


@dataclass(frozen=True, slots=True)
class Baseline:
    """What fp32 answers on the states that judge variants.

    Attributes:
        contract: What the graphs take and give.
        feeds: Graph inputs by name.
        episodes: [N] which episode each state is of.
        action: [N, ...] greedy actions.
        distribution: [N, P] parameters; the flat actions where there are none.
        tie_gap: Choices closer than this tie; 0 where there are no choices.
    """

    contract: Contract
    feeds: Mapping[str, Array]
    episodes: NDArray[Any]
    action: Array
    distribution: NDArray[np.float64]
    tie_gap: float

    @property
    def ties(self) -> NDArray[np.bool_]:
        """[N, D] segments whose two best choices are too close to compare; D is 1 where there are none."""
        if not _scores_choices(self.contract):
            return np.zeros((len(self.action), 1), np.bool_)
        gaps = segment_margins(self.distribution, self.contract.action.mask_segments)
        return np.asarray(gaps < self.tie_gap)


def measure_baseline(
    session: PolicySession, inputs: Inputs, episodes: NDArray[Any] | None = None
) -> Baseline:
    """Asks fp32 about on-policy states.

    Args:
        session: The fp32 graph.
        inputs: The states; what is None in them takes its default.
        episodes: [N] which episode each state is of; None treats every state as its own.
    """
    contract, feeds = session.contract, all_feeds(session, inputs)
    action, parameters = _ask(session, feeds)
    finite = parameters[np.isfinite(parameters)]
    gap = TIE * float(np.ptp(finite)) if _scores_choices(contract) and finite.size else 0.0
    known = np.arange(len(inputs)) if episodes is None else episodes
    return Baseline(contract, feeds, known, action, parameters, gap)


def all_feeds(session: PolicySession, inputs: Inputs) -> dict[str, Array]:
    """What is there, and the defaults of what is not, which take no memory for their rows."""
    given, rows = inputs.feeds(), len(inputs)
    defaults = session.feeds(inputs.take(slice(1)).observations)
    return {
        name: given[name] if name in given else np.broadcast_to(array, (rows, *array.shape[1:]))
        for name, array in defaults.items()
    }


def compare(session: PolicySession, baseline: Baseline) -> Evidence:
    """Asks a variant about the same states; those where every segment ties are left out."""
    action, parameters = _ask(session, baseline.feeds)
    ties = baseline.ties
    counted = ~ties.all(axis=1)
    changed = changed_decisions(action, baseline.action, baseline.contract) & ~ties
    flipped: NDArray[np.bool_] = np.asarray(np.any(changed[counted], axis=1), np.bool_).ravel()
    distances = total_variation(baseline.distribution, parameters, baseline.contract)
    return Evidence(
        Flips(
            states=len(flipped),
            flips=int(flipped.sum()),
            ties=int((~counted).sum()),
            upper_95=clustered_upper_bound(flipped, baseline.episodes[counted]),
        ),
        max_error=_largest_difference(parameters, baseline.distribution),
        mean_total_variation=None if distances is None else float(distances.mean()),
    )


def answers(session: PolicySession, names: Sequence[str], feeds: Mapping[str, Array]) -> list[Array]:
    """Outputs for any number of rows, in chunks."""
    rows = len(next(iter(feeds.values())))
    row_bytes = sum(array[:1].nbytes for array in feeds.values())
    step = int(np.clip(MOST_BYTES // row_bytes, LEAST_ROWS, MOST_ROWS))
    parts = [
        session.run(names, {k: np.ascontiguousarray(v[first : first + step]) for k, v in feeds.items()})
        for first in range(0, rows, step)
    ]
    return [np.concatenate([part[i] for part in parts]) for i in range(len(names))]


def changed_decisions(action: Array, expected: Array, contract: Contract) -> NDArray[np.bool_]:
    """[N, D] segments whose choice differs; for a Box [N, 1], whether an element moved.

    It has moved by more than `LARGE_MOVE` of its range: the declared one, or where that is unbounded what the
    expected actions span.
    """
    if isinstance(contract.action, BoxAction):
        moved = np.abs(action.astype(np.float64) - expected.astype(np.float64))
        differs = ~(moved <= LARGE_MOVE * _widths(contract.action, expected))  # NaN has moved too
        return np.asarray(differs.reshape(len(action), -1).any(axis=1, keepdims=True))
    return np.asarray((action != expected).reshape(len(action), -1))


def _ask(session: PolicySession, feeds: Mapping[str, Array]) -> tuple[Array, NDArray[np.float64]]:
    """Greedy actions and the parameters of the distribution, in float64."""
    if session.contract.distribution == "deterministic":
        (action,) = answers(session, ("action",), feeds)
        return action, action.reshape(len(action), -1).astype(np.float64)
    action, parameters = answers(session, ("action", "distribution"), feeds)
    return action, parameters.astype(np.float64)


def _scores_choices(contract: Contract) -> bool:
    return contract.distribution in {"categorical", "q_values"}


def _widths(spec: BoxAction, seen: Array) -> NDArray[np.float64]:
    low, high = bounds(spec)
    span = np.ptp(seen.astype(np.float64), axis=0)
    with np.errstate(invalid="ignore"):
        declared = high - low
    return np.where(np.isfinite(declared), declared, span)


def _largest_difference(found: NDArray[np.float64], expected: NDArray[np.float64]) -> float:
    """Equal infinities, as masked choices have them, do not differ; NaN differs from everything."""
    with np.errstate(invalid="ignore"):
        apart = np.where(found == expected, 0.0, np.abs(found - expected))
    return float(np.nan_to_num(apart, nan=np.inf).max(initial=0.0))
