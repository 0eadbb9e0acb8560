"""How far a rate or a mean may be from the one that was observed."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95


def upper_bound(events: int, trials: int, confidence: float = CONFIDENCE) -> float:
    """Upper end of the one-sided Clopper-Pearson interval of a binomial rate.

    It is the rate p at which so few events or fewer have probability 1 - confidence (Clopper and Pearson,
    Biometrika 26, 1934), found by bisection; no beta quantile is needed. Exact where trials are independent.
    """
    if trials == 0 or events >= trials:
        return 1.0
    target = math.log1p(-confidence)
    low, high = events / trials, 1.0
    for _ in range(60):
        middle = 0.5 * (low + high)
        if log_cdf(events, trials, middle) > target:
            low = middle
        else:
            high = middle
    return high


def clustered_upper_bound(
    events: NDArray[np.bool_], clusters: NDArray[Any], confidence: float = CONFIDENCE
) -> float:
    """The same for trials that come in clusters, as the steps of an episode do; never below `upper_bound`.

    Events and trials are divided by the design effect before the interval is taken, with the quantiles of
    Student's t for so many clusters (Korn and Graubard, Survey Methodology 24, 1998). Without any event, or
    with a single cluster, no design effect can be estimated and trials count as independent; without events
    that is the rule of three.

    Args:
        events: [N] whether the event happened.
        clusters: [N] which cluster each trial is of.
        confidence: Of the bound.
    """
    happened, trials = int(events.sum()), len(events)
    effect = design_effect(events, clusters)
    if effect > 0:
        normal = student_quantile(confidence, math.inf)
        effect *= (student_quantile(confidence, len(np.unique(clusters)) - 1) / normal) ** 2
    effect = max(effect, 1.0)
    return max(
        upper_bound(happened, trials, confidence),
        upper_bound(math.ceil(happened / effect), math.floor(trials / effect), confidence),
    )


def design_effect(events: NDArray[np.bool_], clusters: NDArray[Any]) -> float:
    """Variance of the rate as clusters show it, over what independent trials would have; 0 where unknown.

    The variance is that of a ratio of cluster totals to cluster sizes (Cochran, Sampling Techniques, third
    edition, 1977, equation 6.9, finite population correction left out).
    """
    _, index, sizes = np.unique(clusters, return_inverse=True, return_counts=True)
    rate = float(events.mean()) if len(events) else 0.0
    if len(sizes) < 2 or not 0 < rate < 1:
        return 0.0
    totals = np.bincount(index, weights=events)
    between = float(np.square(totals - rate * sizes).sum()) * len(sizes) / (len(sizes) - 1)
    return between / (len(events) * rate * (1 - rate))


def mean_interval(values: NDArray[np.float64], confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Student's two-sided interval of the mean; infinite for fewer than two values."""
    if len(values) < 2:
        return -math.inf, math.inf
    reach = student_quantile(0.5 + confidence / 2, len(values) - 1)
    reach *= float(values.std(ddof=1)) / math.sqrt(len(values))
    return float(values.mean()) - reach, float(values.mean()) + reach


def student_quantile(share: float, freedom: float) -> float:
    """Quantile of Student's t at a share above one half.

    Closed forms for one and two degrees of freedom; otherwise the expansion 26.7.5 of Abramowitz and Stegun,
    Handbook of Mathematical Functions, 1964, which is off by less than 0.2 % from three on, for shares up to
    0.975.
    """
    if freedom == 1:
        return math.tan(math.pi * (share - 0.5))
    if freedom == 2:
        return (2 * share - 1) / math.sqrt(2 * share * (1 - share))
    z = NormalDist().inv_cdf(share)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / freedom**power for power, term in enumerate(terms, 1))


def log_cdf(events: int, trials: int, rate: float) -> float:
    """Logarithm of the probability of at most `events` in `trials`, for a rate strictly between 0 and 1.

    Sums from the largest term downwards, since `events` lies below the mean for every rate that is asked.
    """
    log_odds = math.log(rate) - math.log1p(-rate)
    largest = (
        math.lgamma(trials + 1)
        - math.lgamma(events + 1)
        - math.lgamma(trials - events + 1)
        + events * log_odds
        + trials * math.log1p(-rate)
    )
    ratio, total = 0.0, 0.0
    for k in range(events, -1, -1):
        term = math.exp(ratio)
        total += term
        if term < total * 1e-17:
            break
        if k:
            ratio += math.log(k) - math.log(trials - k + 1) - log_odds
    return largest + math.log(total)
