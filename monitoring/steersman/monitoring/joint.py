"""The joint distance of a policy's features, measured from whole on-policy episodes, with its limits.

**What is measured.** Mean and correlation of the features over all steps. The correlations are shrunk
towards none (J. Schäfer and K. Strimmer, A shrinkage approach to large-scale covariance matrix estimation,
2005, target D), as far as their sampling variance asks for. That variance is taken between episodes (K.-Y.
Liang and S. L. Zeger, Longitudinal data analysis using generalized linear models, 1986), because the steps of
one episode are correlated and taken for independent would seem to say far more than they do.

**What the limits mean.** Both rates are of the policy running as in the reference, in episodes to come:

- `step_limits`: of many steps, at most a share `1 - quantile` is beyond. They come in bursts: most episodes
  have none and some have many. Episodes are left out one at a time: the limit that the others give is held
  against the one left out, and the highest rank whose average excess keeps the rate is taken. This is
  unbiased for exchangeable episodes, whatever the correlation within them; but far out it depends on one or
  two episodes, and looks best where they were lucky. So there is a limit only where `LEAST_BEYOND`
  independent steps would be beyond it, by the design effect of the steps at the quantile 0.9.
- `episode_limits`: at most a share `1 - quantile` of the episodes goes beyond at any step. This is the
  quantile of the episodes' largest distances at rank ceil((E + 1) quantile) of E, which keeps the rate for
  any distribution (split conformal prediction over groups: R. Dunn, L. Wasserman and A. Ramdas,
  Distribution-free prediction sets for two-layer hierarchical models, 2023). It needs E >= quantile /
  (1 - quantile) episodes: 99 for 0.99. It is about episodes as long as the reference's.

A limit that the episodes cannot support is infinite. Distances within the sample from which mean and
covariance come are too small, so each episode's are measured under those of the other folds of episodes
(R. F. Barber and others, Predictive inference with the jackknife+, 2021, section 3: CV+).

Measured on simulated episodes (AR(1)), nominal rates of 10, 5, 2 and 1 %: 60 references of 100 alike episodes
of 100 steps refuse 9.8, 4.9, 1.9 and 0.9 % of new steps, and something in 8.9, 4.4, 1.8 and 1.0 % of new
episodes; of 100 episodes that differ in length, level and spread, 10.1, 5.0, 2.0 and 1.0 % of the steps, and
10.4, 5.2, 2.0 and 1.1 % of the episodes. 100 references of 20 such episodes, which support 10 and 5 % only:
9.3 and 5.3 % of the steps, 8.3 and 3.9 % of the episodes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from steersman.bundle.joint import JointDistance
from steersman.monitoring.clustering import design_effect

Floats = NDArray[np.float64]

QUANTILES: tuple[float, ...] = (0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995, 0.9998, 0.9999)
"""Quantiles that have limits."""

FOLDS = 10
"""Parts of the episodes; each part's distances are measured under the others."""

LEAST_SHRINKAGE = 1e-4
"""Features that repeat one another have no inverse covariance: so much is always taken from the correlations.

It lets a difference of one hundredth of a standard deviation between two of them count as one.
"""

LEAST_EPISODES = 5
"""As for the thresholds of drift."""

LEAST_BEYOND = 2
"""Independent steps expected beyond a limit of steps."""

_EXACT = 1e-9
"""0.9 times 10 is 9, and no more."""

_ROUNDING = 1e-6
"""A feature that varies by no more than this share of its size varies by the rounding of float32 only."""


def measure_joint_distance(episodes: Sequence[Floats]) -> JointDistance | None:
    """The joint distance and its limits.

    Args:
        episodes: [T_i, F] float64 for each episode i. Steps with a number that is not finite are left out.

    Returns:
        None where there are fewer than `LEAST_EPISODES` with steps, or no feature varies.
    """
    kept = [steps for steps in map(_finite, episodes) if len(steps)]
    if len(kept) < LEAST_EPISODES:
        return None
    whole = _fit(kept)
    if whole is None:
        return None
    distances = _held_out(kept)
    return JointDistance(
        *whole,
        quantiles=np.array(QUANTILES),
        step_limits=np.array([step_limit(distances, quantile) for quantile in QUANTILES]),
        episode_limits=np.array([episode_limit(distances, quantile) for quantile in QUANTILES]),
    )


def step_limit(distances: Sequence[Floats], quantile: float) -> float:
    """The distance that a share of at most `1 - quantile` of the steps of new episodes exceeds.

    A step of the episode left out is beyond the limit of the others at rank k exactly when no more than k
    steps of the others are further out than it, so no limit has to be computed to count them.

    Args:
        distances: [T_i] for each episode.
        quantile: Within (0, 1).

    Returns:
        Infinity where the episodes are too few to say.
    """
    if independent_steps(distances) * (1 - quantile) < LEAST_BEYOND - _EXACT:
        return float("inf")
    lengths = np.array([len(d) for d in distances])
    steps = int(lengths.sum())
    values = np.concatenate(distances)
    order = np.argsort(-values, kind="stable")
    episode = np.repeat(np.arange(len(distances)), lengths)[order]
    others = np.arange(steps) - _rank_within(episode)  # how many steps of other episodes are further out
    left = (steps - lengths)[episode] / steps
    allowed = (1 - quantile) * steps + _EXACT

    def keeps(rank: int) -> bool:
        return int(np.count_nonzero(others <= np.ceil(rank * left - _EXACT))) <= allowed

    if not keeps(0):
        return float("inf")
    low, high = 0, int(allowed) + 1  # it keeps the rate at low, and is not known to at high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if keeps(middle) else (low, middle)
    return float(values[order[low]])


def independent_steps(distances: Sequence[Floats]) -> float:
    """How many independent steps tell as much of the larger distances as these correlated ones do."""
    values = np.concatenate(distances)
    large = np.quantile(values, 0.9)
    beyond = np.array([np.count_nonzero(d > large) for d in distances])
    within = np.array([len(d) for d in distances]) - beyond
    return len(values) / max(design_effect(np.stack([within, beyond], axis=1))[0], 1.0)


def episode_limit(distances: Sequence[Floats], quantile: float) -> float:
    """The distance that is exceeded at all in a share of at most `1 - quantile` of new episodes.

    Args:
        distances: [T_i] for each episode.
        quantile: Within (0, 1).

    Returns:
        Infinity where there are too few episodes to say.
    """
    largest = np.sort([d.max() for d in distances])
    rank = int(np.ceil((len(largest) + 1) * quantile - _EXACT))
    return float(largest[rank - 1]) if rank <= len(largest) else float("inf")


def _rank_within(group: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each entry, how many before it are of the same group."""
    order = np.argsort(group, kind="stable")
    arranged = group[order]
    starts = np.flatnonzero(np.r_[True, arranged[1:] != arranged[:-1]])
    ranks = np.empty(len(group), np.int64)
    ranks[order] = np.arange(len(group)) - np.repeat(starts, np.diff(np.r_[starts, len(group)]))
    return ranks


def _finite(steps: Floats) -> Floats:
    return steps[np.isfinite(steps).all(axis=1)]


def _held_out(episodes: Sequence[Floats]) -> list[Floats]:
    """Distances of each episode's steps under mean and covariance of the other folds."""
    folds = min(FOLDS, len(episodes))
    distances: list[Floats] = [np.empty(0)] * len(episodes)
    for fold in range(folds):
        fitted = _fit([steps for i, steps in enumerate(episodes) if i % folds != fold])
        for i in range(fold, len(episodes), folds):
            distances[i] = _distances(episodes[i], fitted)
    return distances


def _distances(steps: Floats, fitted: tuple[Floats, Floats] | None) -> Floats:
    if fitted is None:
        return np.zeros(len(steps))
    center, whitening = fitted
    whitened = (steps - center) @ whitening
    return np.asarray(np.sqrt(np.einsum("tk,tk->t", whitened, whitened)))


def _fit(episodes: Sequence[Floats]) -> tuple[Floats, Floats] | None:
    """Centre [F] and whitening [F, K] of the episodes' steps; None where no feature varies."""
    steps = np.concatenate(episodes)
    with np.errstate(over="ignore", invalid="ignore"):
        center, scale = steps.mean(axis=0), steps.std(axis=0)
        varies = np.isfinite(scale) & (scale > _ROUNDING * np.abs(steps).max(axis=0))
    if not varies.any():
        return None
    center = np.where(varies, center, 0.0)  # the mean of huge numbers may be infinite
    standard = [(x[:, varies] - center[varies]) / scale[varies] for x in episodes]
    values, vectors = np.linalg.eigh(_shrunk_correlation(standard))
    whitening = np.zeros((steps.shape[1], len(values)))
    whitening[varies] = vectors / np.sqrt(values) / scale[varies, None]
    return center, whitening


def _shrunk_correlation(standard: Sequence[Floats]) -> Floats:
    """The correlation [K, K] of standardised episodes, its off-diagonal made smaller."""
    steps = sum(len(z) for z in standard)
    products = np.stack([z.T @ z for z in standard])
    correlation = products.sum(axis=0) / steps
    lengths = np.array([len(z) for z in standard])[:, None, None]
    between = products - lengths * correlation
    variance = (between**2).sum(axis=0) / steps**2 * len(standard) / max(len(standard) - 1, 1)
    aside = ~np.eye(len(correlation), dtype=np.bool_)
    total = float((correlation[aside] ** 2).sum())
    share = float(variance[aside].sum()) / total if total > 0 else 1.0
    shrunk = (1 - float(np.clip(share, LEAST_SHRINKAGE, 1.0))) * correlation
    np.fill_diagonal(shrunk, 1.0)
    return np.asarray(shrunk)
