"""The states that a policy is examined on: on-policy ones, split by episode, and the edges of its space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steersman.bundle.specs import ObservationSpec, bounds
from steersman.export.sources.rollouts import Rollout

Array = NDArray[Any]
CALIBRATION_SHARE = 4
"""One episode in so many calibrates quantization; the others, which it never saw, judge it."""
MOST_CALIBRATION_ROWS = 16_384
MOST_EVALUATION_ROWS = 40_000
FAR = 10.0
"""How many times further than anything seen the edge of an unbounded element is tried."""
LARGEST_TRIED = 1e6
"""Bounds beyond this are as good as none: no sensor gives such values."""


@dataclass(frozen=True, slots=True)
class States:
    """Observations [N, *shape] of each kind.

    Attributes:
        calibration: On-policy, to choose scales and roundings with.
        evaluation: On-policy, from other episodes.
        boundary: Corners and edges of the space, mostly never seen on-policy.
        synthetic: The on-policy ones are samples of the space instead.
    """

    calibration: Array
    evaluation: Array
    boundary: Array
    synthetic: bool


def gather_states(rollouts: Sequence[Rollout], spec: ObservationSpec, rng: np.random.Generator) -> States:
    """Splits the rollouts by episode and adds the edges."""
    episodes = [episode.observations for rollout in rollouts for episode in rollout.episodes]
    calibration = np.concatenate(episodes[::CALIBRATION_SHARE])
    evaluation = np.concatenate([e for i, e in enumerate(episodes) if i % CALIBRATION_SHARE] or episodes)
    return States(
        calibration=pick(calibration, MOST_CALIBRATION_ROWS, rng),
        evaluation=pick(evaluation, MOST_EVALUATION_ROWS, rng),
        boundary=boundary_states(spec, evaluation, rng),
        synthetic=any(rollout.synthetic for rollout in rollouts),
    )


def pick(rows: Array, most: int, rng: np.random.Generator) -> Array:
    """At most so many rows, drawn without replacement, in their order."""
    if len(rows) <= most:
        return rows
    return np.asarray(rows[np.sort(rng.choice(len(rows), most, replace=False))])


def boundary_states(spec: ObservationSpec, seen: Array, rng: np.random.Generator) -> Array:
    """Zero, the lowest and highest values, each element alone at its bounds, and random corners."""
    low, high = _finite_bounds(spec, seen)
    middle = np.median(seen.reshape(len(seen), -1).astype(np.float64), axis=0)
    one_by_one = [
        np.where(np.arange(spec.size) == i, bound, middle)
        for i in range(min(spec.size, 128))
        for bound in (low, high)
    ]
    corners = np.where(rng.random((64, spec.size)) < 0.5, low, high)
    zero = np.clip(np.zeros(spec.size), low, high)
    rows = np.concatenate([np.stack([zero, low, high, middle]), np.stack(one_by_one), corners])
    return np.asarray(rows.reshape(-1, *spec.shape).astype(spec.dtype))


def _finite_bounds(spec: ObservationSpec, seen: Array) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Declared bounds; where an element has none, `FAR` times what was seen."""
    flat = seen.reshape(len(seen), -1).astype(np.float64)
    reach = FAR * np.maximum(np.abs(flat).max(axis=0), 0.1)
    low, high = (bound.ravel() for bound in bounds(spec))
    return (
        np.where(low < -LARGEST_TRIED, np.minimum(-reach, high), low),
        np.where(high > LARGEST_TRIED, np.maximum(reach, low), high),
    )
