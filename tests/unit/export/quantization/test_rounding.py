"""Rounding that looks at the inputs loses less than rounding that does not."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from steersman.export.quantization.rounding import (
    LEVELS,
    correct_weights,
    corrected_bias,
    round_to_nearest,
    round_weights,
    second_moments,
)

Matrix = NDArray[np.float64]
Rows = NDArray[np.float32]
weights = arrays.arrays(
    "f8",
    array_shape := st.tuples(st.integers(1, 6), st.integers(1, 80)),
    elements=st.floats(-10, 10, width=32),
)


def correlated(rows: int, width: int, seed: int = 0) -> Rows:
    """Inputs that move together, as those of real states do."""
    rng = np.random.default_rng(seed)
    together = rng.normal(size=(rows, 3)) @ rng.normal(size=(3, width))
    return np.tanh(together + 0.1 * rng.normal(size=(rows, width))).astype(np.float32)


def loss(rounded: Matrix, exact: Matrix, inputs: Rows) -> float:
    return float(np.square(inputs @ (rounded - exact).T).mean())


def test_correlated_inputs_make_good_most_of_the_error() -> None:
    exact = np.random.default_rng(1).normal(size=(64, 64))
    inputs = correlated(2_000, 64)
    careful = round_weights(exact, second_moments(inputs))
    plain = round_to_nearest(exact)
    assert loss(careful.values, exact, inputs) < 0.3 * loss(plain.values, exact, inputs)


@given(weights, st.integers(0, 3))
def test_levels_stay_in_range_and_near_their_weights(exact: Matrix, seed: int) -> None:
    for rounded in (
        round_to_nearest(exact),
        round_weights(exact, second_moments(correlated(50, exact.shape[1], seed))),
    ):
        assert rounded.levels.dtype == np.int8
        assert np.abs(rounded.levels.astype(int)).max() <= LEVELS
        assert np.isfinite(rounded.values).all()
        assert (rounded.scales > 0).all()
    assert (np.abs(round_to_nearest(exact).values - exact) <= 0.51 * rounded.scales[:, None]).all()


def test_weights_on_the_grid_stay_there() -> None:
    levels = np.random.default_rng(2).integers(-LEVELS, LEVELS, (5, 100), endpoint=True)
    levels[:, 0] = LEVELS
    scales = np.float32(2.0) ** -np.arange(5)
    rounded = round_weights(levels * scales[:, None], second_moments(correlated(300, 100)))
    assert (rounded.levels == levels).all()
    assert (rounded.scales == scales).all()


def test_rounding_in_blocks_is_rounding_one_by_one(monkeypatch: Any) -> None:
    exact = np.random.default_rng(3).normal(size=(7, 150))
    moments = second_moments(correlated(500, 150))
    blocked = round_weights(exact, moments)
    monkeypatch.setattr("steersman.export.quantization.rounding.BLOCK", 1000)
    assert (round_weights(exact, moments).levels == blocked.levels).all()


def test_correction_makes_up_for_shifted_inputs() -> None:
    exact = np.random.default_rng(4).normal(size=(8, 20))
    inputs = correlated(3_000, 20)
    shifted = (inputs * 1.05 + 0.02 * inputs[:, ::-1]).astype(np.float32)
    corrected = correct_weights(exact, inputs, shifted, second_moments(shifted))
    before = float(np.square(inputs @ exact.T - shifted @ exact.T).mean())
    after = float(np.square(inputs @ exact.T - shifted @ corrected.T).mean())
    assert after < 0.01 * before
    assert correct_weights(exact, inputs, inputs, second_moments(inputs)) is exact


def test_the_bias_keeps_the_mean_output() -> None:
    exact = np.random.default_rng(5).normal(size=(4, 10))
    inputs = correlated(500, 10) + 0.7
    rounded = round_to_nearest(exact).values
    target = (inputs @ exact.T).mean(axis=0) + 3.0
    bias = corrected_bias(target, inputs, rounded)
    assert np.allclose((inputs @ rounded.T + bias).mean(axis=0), target)
