"""How long a decision takes, by variant and batch size."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steersman.bundle.session import PolicySession, usual_outputs

Array = NDArray[Any]
BATCHES = (1, 32)
ROUNDS = 15
"""Variants take turns, so that a slow moment hits all alike."""
MOST_RUNS, ROUND_SECONDS = 40, 0.01
"""Runs of one variant in one round: as many as take about so long, but two at least."""


def measure_latency(
    sessions: Mapping[str, PolicySession], feeds: Mapping[str, Array]
) -> dict[str, dict[int, float]]:
    """Median microseconds of one greedy decision, by variant and batch size.

    Args:
        sessions: By variant; prepared for the usual outputs, as a server prepares them.
        feeds: Rows to ask about, by graph input name; repeated where they are fewer than a batch.
    """
    latency: dict[str, dict[int, float]] = {name: {} for name in sessions}
    for batch in BATCHES:
        rows = {
            key: np.ascontiguousarray(np.resize(array[:batch], (batch, *array.shape[1:])))
            for key, array in feeds.items()
        }
        taken: dict[str, list[float]] = {name: [] for name in sessions}
        for _ in range(ROUNDS):
            for name, session in sessions.items():
                taken[name] += _time(session, rows)
        for name, seconds in taken.items():
            latency[name][batch] = round(float(np.median(seconds)) * 1e6, 1)
    return latency


def _time(session: PolicySession, rows: Mapping[str, Array]) -> list[float]:
    """Seconds of some runs; the first, after another variant's, finds cold caches and is left out."""
    runs = int(np.clip(ROUND_SECONDS / _once(session, rows), 2, MOST_RUNS))
    return [_once(session, rows) for _ in range(runs)]


def _once(session: PolicySession, rows: Mapping[str, Array]) -> float:
    names = usual_outputs(session.contract.outputs, "greedy")
    began = time.perf_counter()
    session.run(names, rows)
    return time.perf_counter() - began
