"""Total variation distance between the action distributions of two variants of a policy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steersman.bundle.specs import Contract
from steersman.export.policies.segments import split

Array = NDArray[Any]
Parameters = NDArray[np.float64]


def total_variation(exact: Parameters, other: Parameters, contract: Contract) -> NDArray[np.float64] | None:
    """[N] distances, or upper bounds of them where there is no closed form; None without a distribution.

    Squashing and rescaling are one-to-one and leave the distance as it is; clipping can only lessen it.

    Args:
        exact: [N, P] parameters, as the graph's output `distribution` has them.
        other: The same of the other variant.
        contract: Says what the parameters are.
    """
    if contract.distribution == "categorical":
        return between_choices(exact, other, contract.action.mask_segments)
    if contract.distribution in {"gaussian", "squashed_gaussian"}:
        return between_gaussians(exact, other)
    return None


def between_choices(exact: Parameters, other: Parameters, widths: tuple[int, ...]) -> NDArray[np.float64]:
    """Of log-probabilities, one segment per independent choice.

    Exact for one segment. For several it is 1 less the product of 1 - TV: the chance that the best couplings
    of the segments, drawn independently, differ anywhere, which bounds the distance (Levin and Peres, Markov
    Chains and Mixing Times, second edition, proposition 4.7).
    """
    pairs = zip(split(np.exp(exact), widths), split(np.exp(other), widths), strict=True)
    agree = [1.0 - 0.5 * np.abs(p - q).sum(axis=1) for p, q in pairs]
    return np.asarray(1.0 - np.prod(agree, axis=0))


def between_gaussians(exact: Parameters, other: Parameters) -> NDArray[np.float64]:
    """Of means followed by log standard deviations, all elements independent.

    With equal spreads it is erf(d / sqrt 8), exactly, for means d spreads apart. Where the spread depends on
    the state (gSDE, squashed Gaussians) variants differ in it, and the triangle inequality adds the distance
    that the spreads make, at most sqrt(1 - B^2) for a Bhattacharyya coefficient B (Le Cam; Tsybakov,
    Introduction to Nonparametric Estimation, 2009, section 2.4).
    """
    (mean, log_std), (moved, changed) = (np.split(side, 2, axis=1) for side in (exact, other))
    apart = np.sqrt(np.square((moved - mean) / np.exp(log_std)).sum(axis=1))
    shift = np.array([math.erf(value / math.sqrt(8.0)) for value in apart])
    overlap = -0.5 * _log_cosh(changed - log_std).sum(axis=1)  # 2 s t / (s^2 + t^2) = 1 / cosh(ln s/t)
    return np.asarray(np.minimum(1.0, shift + np.sqrt(-np.expm1(2.0 * overlap))))


def _log_cosh(values: Parameters) -> Parameters:
    size = np.abs(values)
    return np.asarray(size + np.log1p(np.exp(-2.0 * size)) - math.log(2.0))
