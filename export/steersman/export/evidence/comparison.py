"""What quantization changed: decisions, distributions, size and speed, all against the fp32 graph."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steersman.bundle.manifest import Flips
from steersman.bundle.session import PolicySession
from steersman.bundle.specs import BoxAction, Contract, bounds
from steersman.export.evidence.intervals import upper_bound

Array = NDArray[Any]
TIE = 1e-4
"""Two choices tie when their logits are closer than this share of the range of logits."""
LARGE_MOVE = 0.01
"""A continuous decision flips when an element moves by more than this share of its range."""
BATCHES = (1, 32)
ROUNDS = 15
RUNS = {1: 40, 32: 20}
"""Runs per round and batch size; variants take turns, so that a slow moment hits all alike."""
CHUNK = 1024


@dataclass(frozen=True, slots=True)
class Evidence:
    """How a variant compares with fp32.

    Attributes:
        flips: Changed greedy decisions.
        max_error: Largest difference of a distribution parameter.
        mean_total_variation: Mean total variation distance of the action distributions.
    """

    flips: Flips
    max_error: float
    mean_total_variation: float


@dataclass(frozen=True, slots=True)
class Baseline:
    """What fp32 answers on the states that judge variants.

    Attributes:
        feeds: Graph inputs by name.
        action: Greedy actions.
        distribution: Parameters [N, P].
        tie_gap: Logits closer than this tie; 0 for continuous actions.
    """

    contract: Contract
    feeds: Mapping[str, Array]
    action: Array
    distribution: NDArray[np.float64]
    tie_gap: float

    @property
    def ties(self) -> NDArray[np.bool_]:
        """[N] states whose two best choices are too close to compare."""
        if self.contract.distribution != "categorical" or self.distribution.shape[1] < 2:
            return np.zeros(len(self.distribution), np.bool_)
        second, best = np.partition(self.distribution, -2, axis=1)[:, -2:].T
        return np.asarray(best - second < self.tie_gap)


def measure_baseline(session: PolicySession, observations: Array) -> Baseline:
    """Asks fp32 about on-policy states, everything allowed."""
    contract = session.contract
    feeds = session.feeds({contract.observations[0].input_name: observations})
    action, distribution = answers(session, ("action", "distribution"), feeds)
    parameters = distribution.astype(np.float64)
    gap = TIE * float(np.ptp(parameters)) if contract.distribution == "categorical" else 0.0
    return Baseline(contract, feeds, action, parameters, gap)


def compare(session: PolicySession, baseline: Baseline) -> Evidence:
    """Asks a variant about the same states."""
    action, distribution = answers(session, ("action", "distribution"), baseline.feeds)
    parameters = distribution.astype(np.float64)
    counted = ~baseline.ties
    flips = int((_flipped(action, baseline) & counted).sum())
    states = int(counted.sum())
    return Evidence(
        Flips(states=states, flips=flips, ties=len(counted) - states, upper_95=upper_bound(flips, states)),
        max_error=float(np.abs(parameters - baseline.distribution).max()),
        mean_total_variation=_total_variation(parameters, baseline),
    )


def answers(session: PolicySession, names: Sequence[str], feeds: Mapping[str, Array]) -> list[Array]:
    """Outputs for any number of rows, in chunks."""
    rows = len(next(iter(feeds.values())))
    parts = [
        session.run(names, {key: array[first : first + CHUNK] for key, array in feeds.items()})
        for first in range(0, rows, CHUNK)
    ]
    return [np.concatenate([part[i] for part in parts]) for i in range(len(names))]


def measure_latency(
    sessions: Mapping[str, PolicySession], feeds: Mapping[str, Array]
) -> dict[str, dict[int, float]]:
    """Median microseconds of one greedy decision, by variant and batch size."""
    latency: dict[str, dict[int, float]] = {name: {} for name in sessions}
    for batch in BATCHES:
        rows = {
            key: np.ascontiguousarray(np.resize(array, (batch, *array.shape[1:])))
            for key, array in feeds.items()
        }
        taken: dict[str, list[float]] = {name: [] for name in sessions}
        for _ in range(ROUNDS):
            for name, session in sessions.items():
                taken[name] += _time(session, rows, RUNS[batch])
        for name, seconds in taken.items():
            latency[name][batch] = round(float(np.median(seconds)) * 1e6, 1)
    return latency


def _time(session: PolicySession, rows: Mapping[str, Array], runs: int) -> list[float]:
    session.run(("action",), rows)  # the first after another session finds cold caches
    taken = []
    for _ in range(runs):
        began = time.perf_counter()
        session.run(("action",), rows)
        taken.append(time.perf_counter() - began)
    return taken


def _flipped(action: Array, baseline: Baseline) -> NDArray[np.bool_]:
    spec = baseline.contract.action
    if not isinstance(spec, BoxAction):
        return np.asarray(action != baseline.action)
    low, high = bounds(spec)
    seen = np.ptp(baseline.action.astype(np.float64), axis=0)
    bounded = np.isfinite(low) & np.isfinite(high)
    width = np.where(bounded, np.where(bounded, high, 0.0) - np.where(bounded, low, 0.0), seen)
    moved = np.abs(action.astype(np.float64) - baseline.action.astype(np.float64)) > LARGE_MOVE * width
    return np.asarray(moved.reshape(len(action), -1).any(axis=1))


def _total_variation(parameters: NDArray[np.float64], baseline: Baseline) -> float:
    """Mean distance. Gaussians have the same spread in every variant, for it is no layer's output."""
    if baseline.contract.distribution == "categorical":
        distance = 0.5 * np.abs(np.exp(parameters) - np.exp(baseline.distribution)).sum(axis=1)
        return float(distance.mean())
    half = parameters.shape[1] // 2
    shift = (parameters[:, :half] - baseline.distribution[:, :half]) / np.exp(baseline.distribution[:, half:])
    apart = np.sqrt(np.square(shift).sum(axis=1))
    return float(np.mean([math.erf(value / math.sqrt(8.0)) for value in apart]))
