"""Formulas of diagonal Gaussians, written out: `torch.distributions` checks values and cannot be traced."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_HALF_LOG_TWO_PI = 0.5 * math.log(2.0 * math.pi)
SQUASH_EPSILON = 1e-6
"""Added to 1 - tanh(x)^2 by SB3 (`distributions.py`, both squashed distributions)."""


def gaussian_log_prob(standard: Tensor, log_std: Tensor) -> Tensor:
    """[N] log densities of mean + std * standard, both arguments [N, K]."""
    return (-0.5 * standard * standard - log_std - _HALF_LOG_TWO_PI).sum(dim=1)


def gaussian_entropy(log_std: Tensor) -> Tensor:
    """[N] entropies for log_std [N, K]."""
    return (log_std + (0.5 + _HALF_LOG_TWO_PI)).sum(dim=1)


def squash_log_det(gaussian: Tensor) -> Tensor:
    """[N] sums of log(1 - tanh(x)^2 + epsilon) over x [N, K], SB3's correction of a log density under tanh.

    1 - tanh(x)^2 is written as 4 e / (1 + e)^2 with e = exp(-2 |x|), which keeps its digits where tanh
    rounds to 1.
    """
    e = torch.exp(-2.0 * gaussian.abs())
    slope = 4.0 * e / ((1.0 + e) * (1.0 + e)) + SQUASH_EPSILON
    return slope.log().sum(dim=1)
