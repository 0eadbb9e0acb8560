"""The range that 8 bits cover."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from steersman.export.quantization.ranges import choose_scale, covering_scale

values = arrays.arrays("f4", st.integers(1, 50), elements=st.floats(-1e4, 1e4, width=32))


@given(values)
def test_zero_is_exact_and_everything_covered_is_within_half_a_step(inputs: np.ndarray) -> None:
    scale = covering_scale(inputs, 0.0)
    assert scale.applied(np.zeros(1))[0] == 0
    assert np.abs(scale.applied(inputs) - inputs).max() <= 0.51 * scale.scale + 1e-6


@given(values)
def test_the_chosen_scale_is_no_worse_than_covering_everything(inputs: np.ndarray) -> None:
    chosen, covering = (
        np.square(scale.applied(inputs) - inputs).mean()
        for scale in (choose_scale(inputs), covering_scale(inputs, 0.0))
    )
    assert chosen <= covering


def test_a_narrow_range_saturates() -> None:
    inputs = np.linspace(-0.3, 2.0, 1_001)
    narrow = covering_scale(inputs, 0.01)
    assert narrow.scale < covering_scale(inputs, 0.0).scale
    assert narrow.applied(np.array([99.0]))[0] == pytest.approx(1.977, abs=0.02)


def test_long_tails_are_given_up_for_resolution() -> None:
    inputs = np.random.default_rng(0).standard_t(5, size=400_000).astype(np.float32)
    assert choose_scale(inputs).scale < 0.8 * covering_scale(inputs, 0.0).scale


def test_nothing_but_zeros_has_a_scale_too() -> None:
    scale = choose_scale(np.zeros(5, np.float32))
    assert scale.scale > 0
    assert scale.applied(np.zeros(5)).max() == 0
