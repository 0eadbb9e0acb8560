"""Rounding weights to 8 bits so that the layer's output, not each weight, stays close.

Plain rounding treats every weight by itself; the errors add up in the sum. Here the error of each rounded weight
is made good by those of the same output that are not rounded yet, as the inputs of real states correlate
(GPTQ: Frantar et al., ICLR 2023, algorithm 1; inputs in order of their power, `act-order`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]

LEVELS = 127
"""Largest magnitude of an 8-bit weight: symmetric, so that zero stays zero."""
SMALLEST_ROW = 1e-4
"""Outputs whose weights are smaller than this share of the layer's largest are rounded as if they were that large."""
DAMPING = 0.01
"""Share of the mean input power added to each input's: GPTQ's own, section 3.3."""
RIDGE = 1e-3
"""The same where a layer's target is corrected; small, for there is far more data than weights."""


@dataclass(frozen=True, slots=True)
class RoundedWeights:
    """`levels * scales[:, None]` are the weights of [outputs, inputs]; one scale per output."""

    levels: NDArray[np.int8]
    scales: NDArray[np.float32]

    @property
    def values(self) -> Matrix:
        """The weights that are computed with."""
        return np.asarray(self.levels * self.scales.astype(np.float64)[:, None])


def correct_weights(weights: Matrix, inputs: Matrix, found: Matrix) -> Matrix:
    """The weights that make up, in least squares, for inputs that earlier layers' rounding has shifted.

    Args:
        weights: [outputs, inputs], as trained.
        inputs: [N, inputs] that the layer got as trained.
        found: [N, inputs] that it gets now.
    """
    if np.array_equal(inputs, found):
        return weights
    power = _power(found, RIDGE)
    drift = (inputs - found) @ weights.T
    return np.asarray(weights + np.linalg.solve(power, found.T @ drift / len(found)).T)


def round_weights(weights: Matrix, inputs: Matrix) -> RoundedWeights:
    """Rounds [outputs, inputs] to 8 bits per output for inputs like these, [N, inputs]."""
    largest = np.abs(weights).max(axis=1)
    scales = (np.maximum(largest, max(SMALLEST_ROW * largest.max(), 1e-12)) / LEVELS).astype(np.float32)
    power = _power(inputs, DAMPING)
    order = np.argsort(-np.diag(power), kind="stable")
    left = weights[:, order].copy()
    inverse = np.linalg.cholesky(np.linalg.inv(power[np.ix_(order, order)])).T
    levels = np.zeros_like(left)
    wide = scales.astype(np.float64)
    for j in range(left.shape[1]):
        levels[:, j] = np.clip(np.round(left[:, j] / wide), -LEVELS, LEVELS)
        error = (left[:, j] - levels[:, j] * wide) / inverse[j, j]
        left[:, j + 1 :] -= np.outer(error, inverse[j, j + 1 :])
    return RoundedWeights(levels[:, np.argsort(order)].astype(np.int8), scales)


def corrected_bias(target: Matrix, inputs: Matrix, weights: Matrix) -> NDArray[np.float64]:
    """The bias with which the layer's mean output [outputs] is what it was: `target` is [N, outputs]."""
    return np.asarray((target - inputs @ weights.T).mean(axis=0))


def _power(inputs: Matrix, damping: float) -> Matrix:
    """[inputs, inputs] second moments, damped so that they can be inverted."""
    moments = inputs.T @ inputs / len(inputs)
    return np.asarray(moments + np.eye(len(moments)) * (damping * np.diag(moments).mean() + 1e-12))
