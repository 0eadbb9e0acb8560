"""What a shadow is compared by, and the budget that it keeps to."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steersman.bundle.specs import BoxAction, DiscreteAction, MultiDiscreteAction
from steersman.serving.shadowing.agreement import agreeing
from steersman.serving.shadowing.cpu_budget import BURST_S, CpuBudget


@given(
    share=st.floats(0.01, 1.0),
    turns=st.lists(st.tuples(st.floats(0.0, 3.0), st.floats(0.0, 0.5)), min_size=1, max_size=60),
)
def test_no_history_spends_more_than_the_share(share: float, turns: list[tuple[float, float]]) -> None:
    budget = CpuBudget(share, 0.0)
    now_s = spent_s = most_s = 0.0
    for elapsed_s, cost_s in turns:
        now_s += elapsed_s
        if budget.allows(now_s):
            budget.spend(cost_s)
            spent_s += cost_s
            most_s = max(most_s, cost_s)
        assert spent_s <= share * (now_s + BURST_S) + most_s + 1e-9


def test_a_budget_that_was_overdrawn_is_open_again_when_that_is_made_up_for() -> None:
    budget = CpuBudget(0.1, 0.0)
    budget.spend(0.3)
    assert not budget.allows(1.9)
    assert budget.allows(2.1)


@pytest.mark.parametrize(
    ("answered", "other", "same"),
    [
        ([0.0, 0.0], [0.1, -0.05], True),
        ([0.0, 0.0], [0.11, 0.0], False),
        ([1.0, 100.0], [1.0, 104.9], True),
        ([1.0, 100.0], [1.0, 105.1], False),
        ([1.0, 0.2], [1.0, 0.24], True),
        ([1.0, 0.2], [1.0, 0.26], False),
    ],
)
def test_continuous_actions_agree_within_the_tolerance(
    answered: list[float], other: list[float], same: bool
) -> None:
    """The first element is in [-1, 1]; the second has no bounds, or float32's largest, which says as much."""
    for most in (float("inf"), float(np.finfo(np.float32).max)):
        spec = BoxAction(shape=(2,), low=(-1.0, -most), high=(1.0, most))
        pair = np.array([answered, other], np.float64)
        assert agreeing(spec, pair[:1], pair[1:], 0.05).tolist() == [same]
        assert agreeing(spec, pair[:1], pair[:1], 0.0).tolist() == [True]


def test_choices_agree_when_all_of_them_are_the_same() -> None:
    one = agreeing(DiscreteAction(n=3), np.array([0, 2]), np.array([0, 1]), 1.0)
    many = agreeing(
        MultiDiscreteAction(nvec=(2, 3)), np.array([[0, 2], [1, 1]]), np.array([[0, 2], [1, 2]]), 1.0
    )
    assert one.tolist() == many.tolist() == [True, False]
