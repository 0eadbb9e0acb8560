"""How much less correlated steps tell than independent ones.

Steps of one episode resemble each other, so the shares of n steps vary as if there were n / (design effect)
of them. J. N. K. Rao and A. J. Scott (The Analysis of Categorical Data from Complex Sample Surveys, JASA 76,
1981; On Chi-squared Tests for Multiway Contingency Tables, Annals of Statistics 12, 1984) correct chi-squared
statistics for it: divided by the mean design effect (first order), and by 1 + a^2 with (K - 1) / (1 + a^2)
degrees of freedom (second order, Satterthwaite), a being the coefficient of variation of the design effects.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def design_effect(counts: NDArray[np.int64]) -> tuple[float, float]:
    """The second-order Rao-Scott correction of one column.

    Args:
        counts: [E, C] steps per episode and cell.

    Returns:
        Mean design effect times (1 + a^2), and the degrees of freedom. A column that never varies has 1
        and 1; with a single episode all of its steps count as one.
    """
    episodes, steps = len(counts), int(counts.sum())
    if episodes < 2:
        return float(max(steps, 1)), 1.0
    total = counts.sum(axis=0)
    occupied = counts[:, total > 0]
    shares = total[total > 0] / max(steps, 1)
    cells = len(shares)
    if cells < 2:
        return 1.0, 1.0
    mean, spread = _generalised_effects(occupied, shares)
    return mean * spread, (cells - 1) / spread


def _generalised_effects(counts: NDArray[np.int64], shares: NDArray[np.float64]) -> tuple[float, float]:
    """Mean of the generalised design effects, and 1 + a^2, from the episodes as clusters.

    The effects are the eigenvalues of P^-1 V, V the covariance of sqrt(n) times the shares, estimated from
    residual totals of the episodes (a ratio estimator, since episodes differ in length), P the same for
    independent steps. Only traces are needed, and diag(1 / shares) is a generalised inverse of P.
    """
    episodes, cells = counts.shape
    lengths = counts.sum(axis=1, keepdims=True)
    residuals = (counts - lengths * shares) / np.sqrt(shares)
    scaled = residuals.T @ residuals / lengths.sum() * (episodes / (episodes - 1))
    trace, trace_of_square = float(np.trace(scaled)), float((scaled**2).sum())
    if trace <= 0:
        return 1.0, 1.0
    return trace / (cells - 1), trace_of_square / trace**2 * (cells - 1)
