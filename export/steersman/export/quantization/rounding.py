"""Rounding weights to 8 bits so that the layer's output, not each weight, stays close.

Plain rounding treats every weight by itself; the errors add up in the sum. Here the error of each rounded
weight is made good by those of the same output that are not rounded yet, as the inputs of real states
correlate (GPTQ: Frantar et al., ICLR 2023, algorithm 1; inputs in order of their power, `act-order`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]
Rows = NDArray[np.float32]

LEVELS = 127
"""Largest magnitude of an 8-bit weight: symmetric, so that zero stays zero."""
SMALLEST_ROW = 1e-4
"""Outputs with weights below this share of the layer's largest are rounded as if they were that large."""
BLOCK = 64
"""Inputs rounded before their errors are passed on to all that follow: GPTQ's own device for speed."""
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


def second_moments(inputs: Rows) -> Matrix:
    """[inputs, inputs] mean products of [N, inputs]; float32 is exact enough to sum thousands of rows."""
    return np.asarray((inputs.T @ inputs).astype(np.float64) / len(inputs))


def correct_weights(weights: Matrix, inputs: Rows, found: Rows, moments: Matrix) -> Matrix:
    """The weights that make up, in least squares, for inputs that earlier layers' rounding has shifted.

    Args:
        weights: [outputs, inputs], as trained.
        inputs: [N, inputs] that the layer got as trained.
        found: [N, inputs] that it gets now.
        moments: Second moments of `found`.
    """
    if np.array_equal(inputs, found):
        return weights
    shift = (found.T @ (inputs - found)).astype(np.float64) / len(found)
    return np.asarray(weights + np.linalg.solve(_damped(moments, RIDGE), shift @ weights.T).T)


def round_to_nearest(weights: Matrix) -> RoundedWeights:
    """Rounds every weight of [outputs, inputs] by itself."""
    scales = _scales(weights)
    return RoundedWeights(_levels(weights, scales.astype(np.float64)[:, None]).astype(np.int8), scales)


def round_weights(weights: Matrix, moments: Matrix) -> RoundedWeights:
    """Rounds [outputs, inputs] to 8 bits per output for inputs with these second moments."""
    scales = _scales(weights)
    wide = scales.astype(np.float64)
    damped = _damped(moments, DAMPING)
    order = np.argsort(-np.diag(damped), kind="stable")
    left = weights[:, order].copy()
    inverse = np.linalg.cholesky(np.linalg.inv(damped[np.ix_(order, order)])).T
    levels = np.zeros_like(left)
    for first in range(0, left.shape[1], BLOCK):
        last = min(first + BLOCK, left.shape[1])
        errors = np.zeros((len(left), last - first))
        for j in range(first, last):
            levels[:, j] = _levels(left[:, j], wide)
            errors[:, j - first] = (left[:, j] - levels[:, j] * wide) / inverse[j, j]
            left[:, j + 1 : last] -= np.outer(errors[:, j - first], inverse[j, j + 1 : last])
        left[:, last:] -= errors @ inverse[first:last, last:]
    return RoundedWeights(levels[:, np.argsort(order)].astype(np.int8), scales)


def corrected_bias(target: Matrix, found: Rows, weights: Matrix) -> NDArray[np.float64]:
    """The bias with which the layer's mean output is `target`, [outputs], on inputs `found`, [N, inputs]."""
    return np.asarray(target - weights @ found.mean(axis=0, dtype=np.float64))


def _scales(weights: Matrix) -> NDArray[np.float32]:
    largest = np.abs(weights).max(axis=1)
    floor = max(SMALLEST_ROW * float(largest.max()), 1e-12)
    return np.asarray(np.maximum(largest, floor) / LEVELS, np.float32)


def _levels(weights: Matrix, scales: Matrix) -> Matrix:
    return np.asarray(np.clip(np.round(weights / scales), -LEVELS, LEVELS))


def _damped(moments: Matrix, share: float) -> Matrix:
    return np.asarray(moments + np.eye(len(moments)) * (share * np.diag(moments).mean() + 1e-12))
