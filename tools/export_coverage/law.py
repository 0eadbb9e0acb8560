"""Sampling in law: the graph with fresh noise beside `predict(deterministic=False)`.

The two-sample Kolmogorov-Smirnov test of each action element; on whole numbers it is on the safe side. Its
limit is that of a false alarm once in a million elements (Smirnov's asymptotic bound), and seeds are fixed.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tools.export_coverage.asking import Asked, act
from tools.export_coverage.graph import Graph, rows
from tools.export_coverage.models import Trained

Array = NDArray[Any]
SAMPLES = 4000
LIMIT = math.sqrt(-math.log(1e-6 / 2) / 2) * math.sqrt(2 / SAMPLES)
"""Largest distance that chance explains."""


def distance_in_law(trained: Trained, graph: Graph, observations: Any) -> float | None:
    """Largest distance of any action element's distribution in some states; None where nothing is sampled."""
    noise = graph.contract.noise
    if noise is None:
        return None
    chance, farthest = np.random.default_rng(17), 0.0
    for row in range(0, rows(observations), max(1, rows(observations) // 3)):
        repeated = _repeated(observations, row)
        draw = chance.standard_normal if noise.law == "normal" else chance.random
        numbers = np.maximum(draw((SAMPLES, noise.width)), 1e-9 if noise.law == "uniform" else -np.inf)
        found = graph.run("sampled_action", repeated, noise=numbers.astype(np.float32))
        found = found - getattr(trained.model.action_space, "start", 0)
        farthest = max(farthest, _distance(found, _sampled(trained, repeated)))
    return farthest


def _sampled(trained: Trained, observations: Any) -> Array:
    torch.manual_seed(19)
    policy: Any = trained.model.policy
    if getattr(trained.model, "use_sde", False):  # a fresh exploration matrix for every row
        policy.reset_noise(SAMPLES)
    recurrent = hasattr(policy, "lstm_actor")
    return act(
        trained, Asked(observations, start=np.ones(SAMPLES, np.bool_) if recurrent else None), greedy=False
    )[0]


def _repeated(observations: Any, row: int) -> Any:
    if isinstance(observations, dict):
        return {key: _repeated(part, row) for key, part in observations.items()}
    return np.repeat(observations[row : row + 1], SAMPLES, axis=0)


def _distance(one: Array, other: Array) -> float:
    pairs = zip(one.reshape(len(one), -1).T, other.reshape(len(other), -1).T, strict=True)
    return max(_smirnov(a.astype(np.float64), b.astype(np.float64)) for a, b in pairs)


def _smirnov(one: Array, other: Array) -> float:
    """Largest difference of two empirical distribution functions."""
    places = np.concatenate([one, other])
    shares = [np.searchsorted(np.sort(sample), places, side="right") / len(sample) for sample in (one, other)]
    return float(np.abs(shares[0] - shares[1]).max())
