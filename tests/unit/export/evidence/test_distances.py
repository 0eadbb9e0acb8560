"""Distances between action distributions, against sums and integrals."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from steersman.export.evidence.distances import between_choices, between_gaussians
from unit.export.evidence.answering import log_softmax

Array = NDArray[Any]
seeds = st.integers(0, 10_000)


@given(seeds, st.lists(st.integers(1, 4), min_size=1, max_size=4))
def test_several_choices_are_bounded_and_one_is_exact(seed: int, widths: list[int]) -> None:
    rng = np.random.default_rng(seed)
    p, q = (log_softmax(rng.normal(size=(1, sum(widths))), widths).astype(np.float64) for _ in range(2))
    starts = np.cumsum([0, *widths[:-1]])
    joint = 0.0
    for combination in itertools.product(*(range(width) for width in widths)):
        columns = starts + np.array(combination)
        joint += 0.5 * abs(np.exp(p[0, columns].sum()) - np.exp(q[0, columns].sum()))
    found = between_choices(p, q, tuple(widths))[0]
    assert joint - 1e-6 <= found <= 1
    if len(widths) == 1:
        assert found == pytest.approx(joint, abs=1e-6)


def test_masked_choices_have_no_share() -> None:
    with np.errstate(divide="ignore"):
        p, q = np.log([[0.5, 0.5, 0.0]]), np.log([[0.4, 0.6, 0.0]])
    assert between_choices(p, q, (3,))[0] == pytest.approx(0.1)


def integrated(mean: float, std: float, other_mean: float, other_std: float) -> float:
    x = np.linspace(-40, 40, 400_001)

    def density(m: float, s: float) -> Array:
        return np.asarray(np.exp(-0.5 * ((x - m) / s) ** 2) / (s * np.sqrt(2 * np.pi)))

    return float(0.5 * np.abs(density(mean, std) - density(other_mean, other_std)).sum() * (x[1] - x[0]))


@given(st.floats(-2, 2), st.floats(-1.5, 1), st.floats(-2, 2), st.floats(-1.5, 1))
def test_gaussians_are_bounded_and_exact_with_equal_spreads(
    mean: float, log_std: float, moved: float, changed: float
) -> None:
    exact = integrated(mean, np.exp(log_std), moved, np.exp(changed))
    found = between_gaussians(np.array([[mean, log_std]]), np.array([[moved, changed]]))[0]
    assert exact - 1e-4 <= found <= 1
    equal = between_gaussians(np.array([[mean, log_std]]), np.array([[moved, log_std]]))[0]
    assert equal == pytest.approx(integrated(mean, np.exp(log_std), moved, np.exp(log_std)), abs=1e-4)


def test_small_changes_of_spread_are_small_distances() -> None:
    exact = np.array([[0.0, 0.0, 0.0, 0.0]])
    found = between_gaussians(exact, np.array([[0.0, 0.0, 0.01, 0.0]]))[0]
    assert integrated(0, 1, 0, np.exp(0.01)) <= found < 0.01
