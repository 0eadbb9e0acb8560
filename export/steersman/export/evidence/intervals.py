"""An upper bound on a rate that was observed."""

from __future__ import annotations

import math

CONFIDENCE = 0.95


def upper_bound(events: int, trials: int, confidence: float = CONFIDENCE) -> float:
    """Upper end of the one-sided Clopper-Pearson interval of a binomial rate.

    It is the rate p at which so few events or fewer have probability 1 - confidence (Clopper and Pearson,
    Biometrika 26, 1934), found by bisection; no beta quantile is needed. Exact where trials are independent;
    steps of one episode are not, so for them it is a little too low.
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
