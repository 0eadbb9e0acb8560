"""The reference: what is normal, measured at export from whole on-policy episodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steersman.bundle.reference import BINS, CELLS, Reference
from steersman.bundle.specs import BoxAction, Contract
from steersman.monitoring.bins import count_cells
from steersman.monitoring.clustering import design_effect
from steersman.monitoring.columns import action_dimensions, choices
from steersman.monitoring.errors import MonitoringUsageError
from steersman.monitoring.joint import measure_joint_distance
from steersman.monitoring.resampling import REPLICATES, calibrate

Array = NDArray[Any]
Counts = NDArray[np.int64]
Floats = NDArray[np.float64]

WINDOWS: tuple[int, ...] = (5, 10, 25, 50, 100, 250)
"""Window sizes in episodes that thresholds are calibrated for."""

ALARM_RATES: tuple[float, ...] = (0.01, 0.05)
"""Probabilities that a window without drift raises an alarm."""

MIN_EPISODES = WINDOWS[0]
"""A reference of fewer episodes has infinite thresholds: not enough data."""

TAIL = 0.02
"""Share of the reference's steps below the first edge, and above the last one.

Were the edges at the extremes, new episodes would reach cells that the reference never saw, which no
resampling foresees. Measured on 400 references of 30 simulated episodes, nominal rate 5 %, windows of 5 to
250: 6 to 9 % false alarms with edges at the extremes, 4 to 6 % with this.
"""


def build_reference(
    observations: Sequence[Floats],
    actions: Sequence[Array],
    contract: Contract,
    *,
    seed: int = 0,
    replicates: int = REPLICATES,
) -> Reference:
    """Measures one serving mode.

    Args:
        observations: [T_i, F] float64 for each episode i, as `columns.features` gives them; F is 0 when
            there are too many to bin.
        actions: [T_i, *shape] for each episode, as the environment takes them.
        contract: The policy's contract.
        seed: Makes the thresholds repeatable.
        replicates: How often references and windows are resampled.

    Returns:
        Quantile edges and counts, Rao-Scott design effects, thresholds for `WINDOWS` and `ALARM_RATES`, and
        the joint distance.

    Raises:
        MonitoringUsageError: There is no step, or observations and actions do not fit together.
    """
    kept = _whole_episodes(observations, actions)
    observed = _binned([x for x, _ in kept])
    acted = _acted([a for _, a in kept], contract)
    calibrated = partial(_thresholds, episodes=len(kept), replicates=replicates)
    effects = np.array([design_effect(counts) for counts in observed.counts]).reshape(-1, 2)
    return Reference(
        feature_edges=observed.edges,
        feature_counts=_padded(observed.counts, CELLS),
        feature_design_effect=effects[:, 0],
        feature_degrees_of_freedom=effects[:, 1],
        feature_thresholds=calibrated(observed.counts, seed=seed),
        action_edges=acted.edges,
        action_counts=_padded(acted.counts, max(counts.shape[1] for counts in acted.counts)),
        action_thresholds=calibrated(acted.counts, seed=seed + 1),
        windows=np.array(WINDOWS, np.int64),
        alarm_rates=np.array(ALARM_RATES),
        episodes=np.array(len(kept), np.int64),
        joint=measure_joint_distance([x for x, _ in kept]),
    )


def quantile_edges(x: Floats) -> Floats:
    """Edges between which the steps are spread evenly, `TAIL` of them below and above.

    Args:
        x: [T] float64; NaN is left out.

    Returns:
        [BINS + 1] float64, values that occur in x, non-decreasing; the last one lies just above such a value.
        So a value that many steps share is in a bin, and at most `TAIL` of the steps overflow.
    """
    known = x[~np.isnan(x)]
    if not known.size:
        return np.zeros(BINS + 1)
    edges = np.quantile(known, np.linspace(TAIL, 1 - TAIL, BINS + 1), method="inverted_cdf")
    with np.errstate(over="ignore"):
        edges[-1] = np.nextafter(edges[-1], np.inf)
    return edges


@dataclass(frozen=True, slots=True)
class _Binned:
    """Columns counted per episode: edges [C, BINS + 1] and, for each column, counts [E, cells]."""

    edges: Floats
    counts: list[Counts]


def _whole_episodes(observations: Sequence[Floats], actions: Sequence[Array]) -> list[tuple[Floats, Array]]:
    lengths = [len(x) for x in observations], [len(a) for a in actions]
    if lengths[0] != lengths[1]:
        raise MonitoringUsageError(
            "observations and actions do not fit together", expected="for each episode as many of both"
        )
    kept = [(x, a) for x, a in zip(observations, actions, strict=True) if len(x)]
    if not kept:
        raise MonitoringUsageError("a reference needs at least one step", where="observations")
    return kept


def _binned(episodes: Sequence[Floats]) -> _Binned:
    steps = np.concatenate(episodes)
    columns = steps.shape[1]
    edges = np.array([quantile_edges(steps[:, c]) for c in range(columns)]).reshape(columns, BINS + 1)
    counts = np.stack([count_cells(x, edges) for x in episodes])
    return _Binned(edges, [counts[:, c] for c in range(columns)])


def _acted(episodes: Sequence[Array], contract: Contract) -> _Binned:
    if isinstance(contract.action, BoxAction):
        size = contract.action.size
        return _binned([np.asarray(a, np.float64).reshape(len(a), size) for a in episodes])
    cells = [choices(a, contract) for a in episodes]
    counts = [
        np.stack([np.bincount(c[:, d], minlength=len(labels)) for c in cells])
        for d, (_, labels) in enumerate(action_dimensions(contract))
    ]
    return _Binned(np.empty((0, BINS + 1)), counts)


def _padded(columns: Sequence[Counts], cells: int) -> Counts:
    """[C, cells] counts of all episodes together, 0 in cells that a column does not have."""
    totals = [np.pad(counts.sum(axis=0), (0, cells - counts.shape[1])) for counts in columns]
    return np.array(totals, np.int64).reshape(len(columns), cells)


def _thresholds(columns: Sequence[Counts], *, episodes: int, seed: int, replicates: int) -> Floats:
    if episodes < MIN_EPISODES:
        return np.full((len(WINDOWS), len(ALARM_RATES), len(columns)), np.inf)
    return calibrate(columns, WINDOWS, ALARM_RATES, seed=seed, replicates=replicates)
