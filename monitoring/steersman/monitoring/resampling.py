"""Thresholds with a stated false-alarm rate, from resampling whole episodes.

Steps of one episode are correlated, so single steps must never be resampled: on CartPole the usual fixed PSI
thresholds raise false alarms in tens of percent of windows. Three things make the rate hold:

- Whole episodes are drawn, for the window and for the reference, because both vary (block bootstrap).
- The episodes at hand are a sample too. Each replicate first draws its own population of episodes from them,
  and then reference and window from that, as a posterior predictive would; otherwise thresholds are too low
  by what a t quantile exceeds a normal one. Each of the two draws loses a factor 1 - 1/E of variance, which
  PSI is proportional to near 0: it is put back.
- Over columns, thresholds belong to one critical value of the smallest p (P. H. Westfall and S. S. Young,
  Resampling-Based Multiple Testing, 1993), so that any alarm at all has the stated rate, and correlated
  columns cost little.

Measured at nominal 1 % and 5 %, windows of 5 to 250 episodes: 1,000 references of 100 simulated episodes
(AR(1), as in the tests) raise 0.8 to 1.2 % and 4.5 to 5.5 % false alarms; of 20 episodes, 0.6 to 1.0 % and
4.2 to 5.0 %; 600 references of 100 episodes of CartPole's physics, 0.7 to 1.3 % and 4.3 to 5.7 %.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from steersman.monitoring.drift import psi

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]

REPLICATES = 10_000
"""With this many, chance moves an achieved rate of 1 % by 0.1 % (standard error)."""

_CHUNK = 1_000


def calibrate(
    columns: Sequence[Counts],
    windows: Sequence[int],
    alarm_rates: Sequence[float],
    *,
    seed: int,
    replicates: int = REPLICATES,
) -> Floats:
    """PSI thresholds per column, such that any of them is exceeded at the alarm rate.

    Args:
        columns: [E, C] steps per episode and cell, for each of F columns; C may differ between them.
        windows: W window sizes in episodes.
        alarm_rates: R probabilities that a window without drift exceeds any threshold.
        seed: Makes it repeatable.
        replicates: Number of resampled references and windows.

    Returns:
        [W, R, F] float64.
    """
    thresholds = np.full((len(windows), len(alarm_rates), len(columns)), -np.inf)
    varying = [f for f, counts in enumerate(columns) if np.count_nonzero(counts.any(axis=0)) > 1]
    if varying:
        null = resampled_psi([columns[f] for f in varying], windows, seed=seed, replicates=replicates)
        for w, r in np.ndindex(len(windows), len(alarm_rates)):
            thresholds[w, r, varying] = joint_thresholds(null[w], alarm_rates[r])
    floors = [[smoothing_psi(counts, window) for counts in columns] for window in windows]
    shape = (len(windows), 1, len(columns))
    return np.asarray(np.maximum(thresholds, np.array(floors).reshape(shape)))


def resampled_psi(columns: Sequence[Counts], windows: Sequence[int], *, seed: int, replicates: int) -> Floats:
    """PSI of resampled windows against resampled references.

    Args:
        columns: [E, C] steps per episode and cell, for each of F columns.
        windows: W window sizes in episodes.
        seed: Makes it repeatable.
        replicates: B, how many of each.

    Returns:
        [W, B, F] float64; entries of one replicate belong together.
    """
    episodes = len(columns[0])
    rng = np.random.default_rng(seed)
    groups = _by_width(columns)
    result = np.empty((len(windows), replicates, len(columns)))
    for first in range(0, replicates, _CHUNK):
        rows = slice(first, min(first + _CHUNK, replicates))
        draw = _population(rng, episodes, rows.stop - rows.start)
        references = _totals(draw(episodes), groups)
        for w, window in enumerate(windows):
            totals = _totals(draw(window), groups)
            for (members, _), total, reference in zip(groups, totals, references, strict=True):
                result[w, rows][:, members] = psi(total, reference)
    return np.asarray(result * (episodes / (episodes - 1)) ** 2)


def joint_thresholds(null: Floats, alarm_rate: float) -> Floats:
    """Thresholds such that at most a share `alarm_rate` of replicates exceeds any of them.

    Args:
        null: [B, F] PSI without drift; entries of one row belong together.
        alarm_rate: The share.

    Returns:
        [F] float64, each column's threshold at the same rank from the top.
    """
    order = np.argsort(-null, axis=0, kind="stable")
    ranks = np.empty_like(order)
    np.put_along_axis(ranks, order, np.arange(len(null))[:, None], axis=0)
    best = np.sort(ranks.min(axis=1))
    critical = best[int(alarm_rate * len(null))]
    return np.asarray(np.take_along_axis(null, order[critical : critical + 1], axis=0)[0])


def smoothing_psi(counts: Counts, window: int) -> float:
    """PSI that smoothing alone gives a short window of the reference's own shares.

    Empty cells get 0.5 in a window and in the reference, which are different shares of different numbers of
    steps. It matters to columns that hardly vary.

    Args:
        counts: [E, C] steps per episode and cell.
        window: Size of the window in episodes, taken to be as short as the shortest.
    """
    total = counts.sum(axis=0)
    steps = window * counts.sum(axis=1).min()
    return float(psi(total / max(total.sum(), 1) * steps, total))


def _by_width(columns: Sequence[Counts]) -> list[tuple[list[int], Floats]]:
    """Columns with the same number of cells together: their positions, and counts [E, columns, cells]."""
    widths = sorted({counts.shape[1] for counts in columns})
    groups = [[f for f, counts in enumerate(columns) if counts.shape[1] == width] for width in widths]
    return [
        (members, np.stack([columns[f] for f in members], axis=1, dtype=np.float64)) for members in groups
    ]


def _totals(weights: Floats, groups: list[tuple[list[int], Floats]]) -> list[Floats]:
    """For each group, counts [replicates, columns, cells] of episodes taken `weights` times."""
    shapes = [(len(weights), *counts.shape[1:]) for _, counts in groups]
    return [
        (weights @ counts.reshape(len(counts), -1)).reshape(shape)
        for (_, counts), shape in zip(groups, shapes, strict=True)
    ]


def _population(rng: np.random.Generator, episodes: int, replicates: int) -> Callable[[int], Floats]:
    """Draws a population of episodes for each replicate; the result draws `size` episodes from each.

    What is drawn is [replicates, episodes]: how often each episode occurs.
    """
    members = rng.integers(0, episodes, (replicates, episodes))
    shift = np.arange(replicates)[:, None] * episodes

    def draw(size: int) -> Floats:
        chosen = np.take_along_axis(members, rng.integers(0, episodes, (replicates, size)), axis=1)
        counted = np.bincount((chosen + shift).ravel(), minlength=replicates * episodes)
        return counted.reshape(replicates, episodes).astype(np.float64)

    return draw
